package extfs

import (
	"fmt"
	"strings"

	"varve/internal/fail"
)

// The bits of s_feature_compat, s_feature_incompat and s_feature_ro_compat that
// change what a reader must do.
const (
	compatHasJournal   = 0x4
	compatSparseSuper2 = 0x200

	incompatCompression = 0x1
	incompatFiletype    = 0x2
	incompatRecover     = 0x4
	incompatJournalDev  = 0x8
	incompatMetaBG      = 0x10
	incompatExtents     = 0x40
	incompat64bit       = 0x80
	incompatMMP         = 0x100
	incompatFlexBG      = 0x200
	incompatEAInode     = 0x400
	incompatDirdata     = 0x1000
	incompatCsumSeed    = 0x2000
	incompatLargedir    = 0x4000
	incompatInlineData  = 0x8000
	incompatEncrypt     = 0x10000
	incompatCasefold    = 0x20000

	roSparseSuper  = 0x1
	roHugeFile     = 0x8
	roGDTCsum      = 0x10
	roDirNlink     = 0x20
	roExtraIsize   = 0x40
	roBigalloc     = 0x200
	roMetadataCsum = 0x400
	roVerity       = 0x8000
)

// readable are the incompatible features that this package reads.
const readable = incompatFiletype | incompatRecover | incompatMetaBG | incompatExtents | incompat64bit |
	incompatMMP | incompatFlexBG | incompatEAInode | incompatCsumSeed | incompatLargedir | incompatInlineData

// refused are the features that it knows and does not read.
var refused = []struct {
	bit  uint32
	name string
}{
	{incompatCompression, "compression"},
	{incompatJournalDev, "journal_dev (this is a journal, not a file system)"},
	{incompatDirdata, "dirdata"},
	{incompatEncrypt, "encrypt"},
	{incompatCasefold, "casefold"},
}

// checkFeatures refuses, by name, what cannot be read. Unknown compatible and
// read-only compatible features do no harm to a reader, by their definition.
func (s *super) checkFeatures() error {
	var names []string
	unknown := s.incompat &^ readable
	for _, f := range refused {
		if unknown&f.bit != 0 {
			names = append(names, f.name)
			unknown &^= f.bit
		}
	}
	if unknown != 0 {
		names = append(names, fmt.Sprintf("unknown incompatible bits %#x", unknown))
	}
	if s.roCompat&roVerity != 0 {
		names = append(names, "verity")
	}
	if len(names) == 0 {
		return nil
	}
	return fail.New(fail.Unsupported, "the file system uses features that cannot be read here: %s", strings.Join(names, ", ")).
		WithHint("mount it and archive the mounted tree")
}

// kind names the file system as its users do, by the oldest driver that could
// write it.
func (s *super) kind() string {
	const in4 = incompatExtents | incompat64bit | incompatMMP | incompatFlexBG | incompatEAInode |
		incompatCsumSeed | incompatLargedir | incompatInlineData
	const ro4 = roHugeFile | roGDTCsum | roDirNlink | roExtraIsize | roBigalloc | roMetadataCsum
	switch {
	case s.incompat&in4 != 0 || s.roCompat&ro4 != 0:
		return "ext4"
	case s.compat&compatHasJournal != 0:
		return "ext3"
	}
	return "ext2"
}
