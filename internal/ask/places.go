package ask

// places are names of inodes, by number. Numbers that were given one after the
// other lie in one page, so a look-up is one in a small map and one in memory.
type places struct {
	pages map[uint64]*placePage
	n     int
}

type placePage struct {
	has uint64 // a bit each
	at  [pagePlaces]place
}

const pagePlaces = 64

func newPlaces() places { return places{pages: make(map[uint64]*placePage)} }

func (p *places) get(ino uint64) (place, bool) {
	if page := p.pages[ino/pagePlaces]; page != nil && page.has>>(ino%pagePlaces)&1 != 0 {
		return page.at[ino%pagePlaces], true
	}
	return place{}, false
}

func (p *places) set(ino uint64, at place) {
	page := p.pages[ino/pagePlaces]
	if page == nil {
		page = new(placePage)
		p.pages[ino/pagePlaces] = page
	}
	p.n += 1 - int(page.has>>(ino%pagePlaces)&1)
	page.has |= 1 << (ino % pagePlaces)
	page.at[ino%pagePlaces] = at
}

func (p *places) delete(ino uint64) {
	page := p.pages[ino/pagePlaces]
	if page == nil || page.has>>(ino%pagePlaces)&1 == 0 {
		return
	}
	p.n--
	page.has &^= 1 << (ino % pagePlaces)
	page.at[ino%pagePlaces] = place{}
	if page.has == 0 {
		delete(p.pages, ino/pagePlaces)
	}
}

// size counts, of pages that are all but empty, what they take of memory too.
func (p *places) size() int { return max(p.n, len(p.pages)*(pagePlaces/8)) }
