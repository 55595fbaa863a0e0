package chain

import (
	"encoding/binary"
	"hash/crc32"
	"io"

	"varve/internal/fail"
)

// partition is a part of a disk, in bytes. The whole of it is inside the disk.
type partition struct {
	number      int
	start, size int64
}

// maxPartitions bounds both kinds of tables: what Linux names, and what a GPT has.
const maxPartitions = 256

func partitionOf(r io.ReaderAt, size int64, number int) (partition, error) {
	list, err := partitions(r, size)
	if err != nil {
		return partition{}, err
	}
	for _, p := range list {
		if p.number == number {
			return p, nil
		}
	}
	if len(list) == 0 {
		return partition{}, fail.New(fail.NotFound, "there is no partition table").WithHint("leave :p%d away to take the whole", number)
	}
	return partition{}, fail.New(fail.NotFound, "there is no partition %d among %d", number, len(list))
}

// partitions reads the partition table: a GPT (sectors of 512 or 4096 bytes), else an
// MBR with its logical partitions. None gives an empty list.
func partitions(r io.ReaderAt, size int64) ([]partition, error) {
	for _, sector := range [...]int64{512, 4096} {
		header := make([]byte, sector)
		if n, _ := r.ReadAt(header, sector); n == len(header) && string(header[:8]) == "EFI PART" {
			return gpt(r, size, header, sector)
		}
	}
	return mbr(r, size)
}

// gpt reads a GUID partition table. Its header, little-endian: 12 size u32, 16 CRC u32,
// 72 sector of the entries u64, 80 their number u32, 84 size of one u32, 88 their CRC.
// An entry: 0 type[16], 32 first sector u64, 40 last sector u64.
func gpt(r io.ReaderAt, size int64, header []byte, sector int64) ([]partition, error) {
	le := binary.LittleEndian
	damaged := fail.New(fail.Corrupt, "the GUID partition table is damaged").WithHint("repair a copy with sgdisk or gdisk")
	length, count, each := le.Uint32(header[12:]), int64(le.Uint32(header[80:])), int64(le.Uint32(header[84:]))
	if length < 92 || int(length) > len(header) || count > maxPartitions || each < 128 || each > 4096 || le.Uint64(header[72:]) > uint64(size/sector) {
		return nil, damaged
	}
	sum := le.Uint32(header[16:])
	clear(header[16:20])
	entries := make([]byte, count*each)
	if n, _ := r.ReadAt(entries, int64(le.Uint64(header[72:]))*sector); n < len(entries) ||
		crc32.ChecksumIEEE(header[:length]) != sum || crc32.ChecksumIEEE(entries) != le.Uint32(header[88:]) {
		return nil, damaged
	}
	var list []partition
	for i := range count {
		e := entries[i*each:][:each]
		first, last := le.Uint64(e[32:]), le.Uint64(e[40:])
		if [16]byte(e[:16]) == [16]byte{} {
			continue
		}
		if first > last || last >= uint64(size/sector) {
			return nil, fail.New(fail.Corrupt, "partition %d, sectors %d to %d, is beyond the disk's %d", i+1, first, last, size/sector).WithHint("the image is cut off: copy it again")
		}
		list = append(list, partition{int(i) + 1, int64(first) * sector, int64(last-first+1) * sector})
	}
	return list, nil
}

// mbr reads a master boot record: four entries of 16 bytes from 446 on (4 type u8, 8
// first sector u32, 12 sectors u32), and 0x55 0xaa at 510. An extended partition is a
// chain of such records: the first entry of each is a logical partition, relative to
// the record, the second leads to the next, relative to the extended partition.
func mbr(r io.ReaderAt, size int64) ([]partition, error) {
	const sector = 512
	le := binary.LittleEndian
	record := func(at int64) []byte {
		b := make([]byte, sector)
		if n, _ := r.ReadAt(b, at); n < len(b) || b[510] != 0x55 || b[511] != 0xaa {
			return nil
		}
		return b[446:510]
	}
	extended := func(kind byte) bool { return kind == 0x05 || kind == 0x0f || kind == 0x85 }
	var list []partition
	add := func(number int, base int64, e []byte) {
		p := partition{number, base + int64(le.Uint32(e[8:]))*sector, int64(le.Uint32(e[12:])) * sector}
		if e[4] != 0 && p.start > 0 && p.size > 0 && p.start <= size && p.size <= size-p.start {
			list = append(list, p)
		}
	}
	table, chain := record(0), int64(0)
	for i := 0; i < 4 && table != nil; i++ {
		e := table[16*i:][:16]
		if extended(e[4]) {
			chain = int64(le.Uint32(e[8:])) * sector
			continue
		}
		add(i+1, 0, e)
	}
	for at, number := chain, 5; at != 0 && number < maxPartitions; number++ {
		e := record(at)
		if e == nil {
			break
		}
		add(number, at, e)
		next := e[16:]
		if !extended(next[4]) || le.Uint32(next[8:]) == 0 {
			break
		}
		at = chain + int64(le.Uint32(next[8:]))*sector
	}
	return list, nil
}
