package chain

import (
	"fmt"
	"io"
	"strings"
)

// What to do about what cannot be read.
const (
	hintMount   = "mount it and archive the mounted tree"
	hintUnpack  = "unpack it, and name what was in it"
	hintConvert = "make a plain image of it with qemu-img convert -O raw"
)

// signatures tell what else an image may hold, by bytes at an offset.
var signatures = []struct {
	at         int64
	bytes      string
	what, hint string
}{
	{0, "XFSB", "XFS", "use xfsdump, or " + hintMount},
	{0x10040, "_BHRfS_M", "btrfs", "use btrfs send, or " + hintMount},
	{0, "LUKS\xba\xbe", "an encrypted device (LUKS)", "open it with cryptsetup open, and name the device in /dev/mapper"},
	{512, "LABELONE", "a physical volume of LVM", "name a logical volume"},
	{0, "LABELONE", "a physical volume of LVM", "name a logical volume"},
	{4096, "\xfc\x4e\x2b\xa9", "a member of a RAID array (md)", "assemble it with mdadm, and name the array"},
	{0, "\xfc\x4e\x2b\xa9", "a member of a RAID array (md)", "assemble it with mdadm, and name the array"},
	{3, "NTFS    ", "NTFS", hintMount},
	{3, "EXFAT   ", "exFAT", hintMount},
	{82, "FAT32", "FAT", hintMount},
	{54, "FAT1", "FAT", hintMount},
	{32769, "CD001", "a CD or DVD (ISO 9660)", hintMount},
	{0, "hsqs", "squashfs", hintMount},
	{1024, "\x10\x20\xf5\xf2", "F2FS", hintMount},
	{1024, "\xe2\xe1\xf5\xe0", "EROFS", hintMount},
	{4086, "SWAPSPACE2", "swap space", "name another device"},
	{0, "QFI\xfb", "a qcow2 image", hintConvert},
	{0, "KDMV", "a VMDK image", hintConvert},
	{0, "vhdxfile", "a VHDX image", hintConvert},
	{0, "conectix", "a VHD image", hintConvert},
	{0, "\x1f\x8b", "something compressed by gzip", hintUnpack},
	{0, "\xfd7zXZ\x00", "something compressed by xz", hintUnpack},
	{0, "\x28\xb5\x2f\xfd", "something compressed by zstd", hintUnpack},
	{0, "BZh", "something compressed by bzip2", hintUnpack},
}

// whatIs says in words what an image holds that is no file system of ours, and what
// to do.
func whatIs(r io.ReaderAt, size int64) (what, hint string) {
	for _, s := range signatures {
		b := make([]byte, len(s.bytes))
		if n, _ := r.ReadAt(b, s.at); n == len(b) && string(b) == s.bytes {
			return s.what, s.hint
		}
	}
	if parts, err := partitions(r, size); err == nil && len(parts) > 0 {
		var names []string
		for _, p := range parts {
			names = append(names, fmt.Sprintf(":p%d", p.number))
		}
		return "a partition table", "name a partition by appending one of " + strings.Join(names, ", ")
	}
	b := make([]byte, 1<<16)
	n, _ := r.ReadAt(b, 0)
	if strings.Trim(string(b[:n]), "\x00") == "" {
		return fmt.Sprintf("zeros in the first %d of %d bytes", n, size), "check that this is the right image"
	}
	return "something unknown", "check that this is the right image; a file system in a partition is named by appending :pN"
}
