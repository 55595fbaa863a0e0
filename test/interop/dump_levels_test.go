package interop

import (
	"strings"
	"testing"
	"time"

	"varve/internal/chain"
	"varve/internal/dump"
	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/fs"
	"varve/internal/inode"
)

// TestDumpShareLevels: Debian's restore goes through a chain of levels and ends with
// what the share is, whatever happened between them.
func TestDumpShareLevels(t *testing.T) {
	for name, profile := range map[string]dump.Profile{"portable": dump.Portable, "linux": dump.Linux} {
		t.Run(name, func(t *testing.T) {
			w := newArchivist(t)
			dir := memoryDir(t)
			take := func(level int) chain.Info {
				t.Helper()
				w.tick(3 * time.Second)
				file, info := w.dump(chain.Request{Profile: profile, Level: level, Update: true})
				debian(t, dir, "-rf", file)
				debian(t, dir, "-C", "-D", dir, "-f", file)
				want := w.shareTree(false)
				for path, x := range want {
					if profile == dump.Portable || strings.HasPrefix(x.attrs, "40") {
						x.attrs = noXattrs(x.attrs)
						want[path] = x
					}
				}
				same(t, diskTree(t, dir, false), want)
				return info
			}
			w.variety()
			w.file("/turns", "a file")
			w.mkdir("/moves", 0o755)
			w.file("/moves/inside", "goes along")
			w.file("/dir/two", "two names")
			w.link("/dir/two", "/many/two-too")
			w.mkdir("/gone", 0o755)
			w.file("/gone/too", "x")
			zero := take(0)

			w.rename("/dir/below", "/moved")     // a directory with what is in it
			w.rename("/moves", "/many/moves")    // deeper
			w.rename("/small", "/many/moves/s")  // a file with two names
			w.link("/moved/large", "/large")     // a name more
			w.remove("/zero")                    // gone
			w.remove("/gone/too")                //
			w.remove("/gone")                    //
			w.remove("/turns")                   // another type under its name
			w.mkdir("/turns", 0o700)             //
			w.file("/turns/in", "a new file")    //
			w.remove("/short")                   // a symbolic link that becomes a file
			w.file("/short", "no link any more") //
			w.file("/gone", "was a directory")   //
			w.write(w.at("/sparse"), "patched", 1_500_000)
			w.xattr("/allhole", "user.new", "attribute")
			mode := uint32(0o600)
			w.set("/dir/block", fs.SetAttr{Mode: &mode})
			one := take(1)
			if !one.Base.Equal(zero.Date) || !one.Date.After(zero.Date) {
				t.Errorf("level 1 is of %v on %v; level 0 of %v", one.Date, one.Base, zero.Date)
			}

			w.rename("/large", "/many/large") // a name moves, its file stays
			w.remove("/moved/large")          // the name that came first goes
			w.rename("/turns", "/turned")     //
			w.remove("/many/two-too")         // the name that its inode knows
			w.write(w.at("/dir/two"), "changed", 2)
			w.file("/turns", "a file again") //
			w.remove("/fifo")                //
			w.mknod("/fifo", inode.ModeChar, 1, 5)
			size := uint64(10)
			w.set("/many/moves/s", fs.SetAttr{Size: &size})
			two := take(2)
			if !two.Base.Equal(one.Date) || two.Inodes > 30 {
				t.Errorf("level 2 has %d inodes, on %v", two.Inodes, two.Base)
			}

			w.file("/dir/late", "level 1 again") // takes the place of both
			w.remove("/turned/in")
			again := take1Over0(t, w, profile, dir, zero)
			if list, err := w.dumps.List("home"); err != nil || len(list) != 2 || list[1].Snapshot != again.Snapshot {
				t.Errorf("the chain is %+v, %v", list, err)
			}
		})
	}
}

// take1Over0 makes a level 1 that replaces a level 1 and its level 2, and restores
// the new chain into an empty directory.
func take1Over0(t *testing.T, w *archivist, profile dump.Profile, dir string, zero chain.Info) chain.Info {
	t.Helper()
	w.tick(time.Second)
	file, info := w.dump(chain.Request{Profile: profile, Level: 1, Update: true})
	if !info.Base.Equal(zero.Date) {
		t.Errorf("level 1 is based on %v, not on level 0 of %v", info.Base, zero.Date)
	}
	if list := debian(t, dir, "-tf", file); !strings.Contains(list, "./dir/late") {
		t.Errorf("level 1 lists\n%s", list)
	}
	return info
}

// TestDumpBaseMissing: never a silent level 0.
func TestDumpBaseMissing(t *testing.T) {
	w := newArchivist(t)
	w.file("/a", "a")
	missing := func(what string, level int) {
		t.Helper()
		if j, err := w.begin(chain.Request{Level: level, Update: true}); !fail.Is(err, fail.BaseMissing) {
			if err == nil {
				j.Close()
			}
			t.Errorf("%s: %v", what, err)
		}
	}
	missing("nothing yet", 1)
	w.dump(chain.Request{})
	missing("a level 0 that was not recorded", 1)
	j, err := w.begin(chain.Request{Update: true})
	w.ok(err)
	j.Close()
	missing("a level 0 that was not finished", 1)
	_, info := w.dump(chain.Request{Level: 0, Update: true})
	_, one := w.dump(chain.Request{Level: 1, Update: true})
	w.dumps = chain.New(w.e) // a server that was started again
	w.forget(one.Snapshot)
	w.dump(chain.Request{Level: 2}) // on level 0
	w.tick(time.Second)
	late, err := w.begin(chain.Request{Level: 1, Update: true})
	w.ok(err)
	late.Close()
	_, info = w.dump(chain.Request{Level: 0, Update: true}) // frees what late is based on
	if _, err := w.dumps.Keep(system, "home", late.Info.Snapshot); !fail.Is(err, fail.BaseMissing) {
		t.Errorf("its base went while it was made: %v", err)
	}
	_, err = w.dumps.Discard(system, "home", late.Info.Snapshot)
	w.ok(err)
	w.forget(info.Snapshot)
	missing("its level 0 is gone", 2)
}

var system engine.Caller

// forget destroys the record of a dump, as an administrator may.
func (w *archivist) forget(snapshot string) {
	w.t.Helper()
	_, err := w.e.Release(system, "home", snapshot, "dump")
	w.ok(err)
	_, err = w.e.DestroySnapshot(system, "home", snapshot)
	w.ok(err)
}
