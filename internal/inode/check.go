package inode

type Totals struct{ Inodes, Blocks uint64 }

func Check(r Reader, blocks func([]byte) (uint64, error), report func(error)) (Totals, error) {
	return Totals{}, nil
}
