package nfsclient

// TCP is the number of that protocol in the portmapper's words.
const TCP = 6

// Mapping is what the portmapper knows of a program (RFC 1833, 3).
type Mapping struct{ Program, Version, Protocol, Port uint32 }

// Getport asks the portmapper for a program's port; 0 is none.
func (c Client) Getport(program, version, protocol uint32) (port uint32, o Outcome) {
	var e encoder
	for _, v := range []uint32{program, version, protocol, 0} {
		e.u32(v)
	}
	o = c.raw(ProgramPortmap, VersionPortmap, 3, e, func(d *decoder) Status {
		if port = d.u32(); port > 65535 {
			d.fault("port %d", port)
		}
		return OK
	})
	return port, o
}

// Mappings asks the portmapper for all it knows.
func (c Client) Mappings() (list []Mapping, o Outcome) {
	o = c.raw(ProgramPortmap, VersionPortmap, 4, nil, func(d *decoder) Status {
		for d.bool() && len(list) < listLimit {
			list = append(list, Mapping{d.u32(), d.u32(), d.u32(), d.u32()})
		}
		return OK
	})
	return list, o
}
