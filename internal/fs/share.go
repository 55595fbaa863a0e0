package fs

import (
	"strconv"
	"sync/atomic"

	"varve/internal/engine"
	"varve/internal/fail"
)

// Share describes a share.
type Share struct {
	ID         uint64
	Name       string
	Properties map[string]string // those that are set; not to be changed
}

// share is an attached share.
type share struct {
	id   uint64
	head *engine.Head
	info atomic.Pointer[shareInfo]
}

// shareInfo is what a share's properties say, as of a version of them.
type shareInfo struct {
	version    uint64
	properties map[string]string
	limits     limits
}

// limits are a share's quota; 0: none.
type limits struct{ bytes, inodes uint64 }

// current returns what the properties say now. It is not for judges, which
// must not wait.
func (s *share) current() *shareInfo {
	if i := s.info.Load(); i != nil && i.version == s.head.PropertiesVersion() {
		return i
	}
	i := &shareInfo{}
	i.properties, i.version = s.head.Properties()
	i.limits = limits{number(i.properties["quota"]), number(i.properties["quota-inodes"])}
	s.info.Store(i)
	return i
}

// number reads a property that the engine has checked; an absent one is 0.
func number(v string) uint64 {
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// Shares lists the shares, by name.
func (f *FS) Shares() []Share {
	var out []Share
	for _, d := range f.e.Datasets(false) {
		if d.Kind == shareKind {
			out = append(out, Share{ID: d.ID, Name: d.Name, Properties: d.Properties})
		}
	}
	return out
}

const shareKind = "share" // engine.DatasetInfo.Kind

// Share describes the share of that name. NotFound; Invalid for a volume.
func (f *FS) Share(name string) (Share, error) {
	d, err := f.e.Dataset(name)
	if err != nil {
		return Share{}, err
	}
	if d.Kind != shareKind {
		return Share{}, fail.New(fail.Invalid, "%s is a %s, not a share", name, d.Kind)
	}
	return Share{ID: d.ID, Name: d.Name, Properties: d.Properties}, nil
}

// ShareOf describes the share that a handle is of; cheap. ErrStale.
func (f *FS) ShareOf(h Handle) (Share, error) {
	s, err := f.share(h.Dataset)
	if err != nil {
		return Share{}, err
	}
	return Share{ID: s.id, Name: s.head.Name(), Properties: s.current().properties}, nil
}

// room refuses what would go beyond the share's quota: so many more bytes of
// payload and inodes. Only a judge may ask.
func (s *share) room(l limits, bytes, inodes uint64) error {
	if l == (limits{}) {
		return nil
	}
	usedBytes, usedInodes := s.head.Usage()
	if bytes > 0 && l.bytes > 0 && usedBytes+bytes > l.bytes || inodes > 0 && l.inodes > 0 && usedInodes+inodes > l.inodes {
		return ErrQuota
	}
	return nil
}
