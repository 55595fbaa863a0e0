package vm

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

const (
	leastFiles = 2000     // in the tree that is copied
	bigFile    = 64 << 20 // bytes of the file whose blocks are trimmed
	outage     = 3 * time.Second
)

// TestNBD is a disk's life under the kernel's NBD client: file systems on it,
// past moments beside it, and a server that dies under load.
func TestNBD(t *testing.T) {
	s := serve(t)
	for _, volume := range []string{"disk0", "disk1", "disk2"} {
		s.varve("volume", "create", volume, "--size", "1G")
	}
	g := boot(t, buildProgram(t, "reattach"))
	out := g.do(time.Minute, `
		modprobe nbd
		uname -r
		mkdir -p /mnt/live /mnt/xfs /mnt/dawn /mnt/noon
		mkdir /tmp/tree
		cp -a /usr/include /usr/share/perl /tmp/tree
		find /tmp/tree -type f | wc -l`)
	var kernel string
	var files int
	if _, err := fmt.Sscan(out, &kernel, &files); err != nil || files < leastFiles {
		t.Fatalf("the guest prepared %q (%v), want a kernel and %d files", out, err, leastFiles)
	}
	t.Logf("Linux %s, a tree of %d files", kernel, files)

	d := &disks{server: s, guest: g, t: t, files: files}
	d.phase("ext4 over four connections: copy, trim, fsck", d.ext4)
	d.phase("two moments beside the live disk", d.moments)
	d.phase("xfs: copy, trim, repair", d.xfs)
	d.phase("kill -9 under load, requests wait for the server", d.killAndWait)
	d.phase("kill -9 under load, attached again", d.killAndAttachAgain)
	d.phase("stop and check", d.check)
}

// disks is the state of TestNBD.
type disks struct {
	server *server
	guest  *guest
	t      *testing.T
	files  int // in the tree
}

func (d *disks) phase(name string, body func()) {
	d.t.Helper()
	began := time.Now()
	body()
	d.t.Logf("%s: ok, %.0f s", name, time.Since(began).Seconds())
}

// attach is a script line that attaches an export to a device.
func (d *disks) attach(export, device string, options ...string) string {
	return fmt.Sprintf("nbd-client -N %s 10.0.2.2 %s %s %s\n", export, d.server.port, device, strings.Join(options, " "))
}

// list is a script line that writes the checksums of all files below dir.
func list(dir, name string) string {
	return fmt.Sprintf("(cd %s && find . -type f -print0 | sort -z | xargs -0 sha256sum) >%s\n", dir, name)
}

// compare is a script line that reads every file below dir from the server
// again and fails unless names and checksums are those of the list.
func compare(dir, name string) string {
	return "sync; echo 3 >/proc/sys/vm/drop_caches\n" + list(dir, "/tmp/found") + "diff /tmp/found " + name + " | head -n 20\n"
}

func (d *disks) ext4() {
	out := d.guest.do(3*time.Minute, d.attach("disk0", "/dev/nbd0", "-C", "4")+`
		[ "$(blockdev --getsize64 /dev/nbd0)" = 1073741824 ]
		mkfs.ext4 -q /dev/nbd0
		mount -o noatime /dev/nbd0 /mnt/live
		cp -a /tmp/tree /mnt/live
		sync`+"\n"+
		list("/tmp", "/tmp/list.source")+list("/mnt/live", "/tmp/list.copied"))
	d.t.Logf("nbd-client: %s", strings.Join(strings.Fields(out), " "))
	if _, clients := d.server.status(); clients != 4 {
		d.t.Errorf("the server counts %d connections, want 4", clients)
	}
	if n := d.guest.number(time.Minute, "grep -c ' ./tree/' /tmp/list.copied"); n != int64(d.files) {
		d.t.Errorf("%d files were copied, want %d", n, d.files)
	}
	d.guest.do(2*time.Minute, `grep ' ./tree/' /tmp/list.source >/tmp/a; grep ' ./tree/' /tmp/list.copied >/tmp/b; cmp /tmp/a /tmp/b`+"\n"+
		compare("/mnt/live", "/tmp/list.copied"))
	d.trim("disk0", "/mnt/live")
	d.guest.do(2*time.Minute, `
		umount /mnt/live
		fsck.ext4 -fn /dev/nbd0
		nbd-client -d /dev/nbd0`)
}

// trim writes a big file, removes it, and sees its blocks go.
func (d *disks) trim(volume, dir string) {
	d.guest.do(time.Minute, fmt.Sprintf("head -c %d /dev/urandom >%s/big; sync", bigFile, dir))
	full := d.server.mapped(volume)
	out := d.guest.do(time.Minute, fmt.Sprintf("rm %s/big; sync; fstrim -v %s", dir, dir))
	freed := full - d.server.mapped(volume)
	d.t.Logf("%s: %d MiB mapped, %d MiB freed by fstrim; %s", volume, full>>20, freed>>20, strings.TrimSpace(out))
	if freed < bigFile*9/10 {
		d.t.Errorf("fstrim freed %d bytes, want about %d", freed, bigFile)
	}
}

// moments mounts a snapshot and a moment without a name, read-only, while the
// disk itself is mounted and has gone on.
func (d *disks) moments() {
	d.guest.do(2*time.Minute, d.attach("disk0", "/dev/nbd0")+
		"mount -o noatime /dev/nbd0 /mnt/live\n"+
		list("/mnt/live", "/tmp/list.dawn")+"fsfreeze -f /mnt/live")
	d.server.varve("snapshot", "disk0@dawn")
	d.guest.do(2*time.Minute, `
		fsfreeze -u /mnt/live
		cd /mnt/live/tree
		rm -r perl
		for header in include/*.h; do echo "/* noon */" >>"$header"; done
		mv include/linux moved
		cp -a /etc etc
		cd /`+"\n"+
		list("/mnt/live", "/tmp/list.noon")+"sync; fsfreeze -f /mnt/live")
	noon, _ := d.server.status()
	d.guest.do(2*time.Minute, `
		fsfreeze -u /mnt/live
		rm -r /mnt/live/tree/moved /mnt/live/tree/etc
		head -c 32M /dev/urandom >/mnt/live/evening
		sync
		fstrim /mnt/live`+"\n"+
		list("/mnt/live", "/tmp/list.evening"))
	d.guest.do(4*time.Minute, "! cmp -s /tmp/list.dawn /tmp/list.noon; ! cmp -s /tmp/list.noon /tmp/list.evening\n"+
		d.attach("disk0@dawn", "/dev/nbd1")+
		d.attach(fmt.Sprintf("disk0@lsn:%d", noon), "/dev/nbd2")+`
		[ "$(blockdev --getro /dev/nbd1) $(blockdev --getro /dev/nbd2)" = "1 1" ]
		mount -o ro,noload /dev/nbd1 /mnt/dawn
		mount -o ro,noload /dev/nbd2 /mnt/noon`+"\n"+
		compare("/mnt/dawn", "/tmp/list.dawn")+
		compare("/mnt/noon", "/tmp/list.noon")+
		compare("/mnt/live", "/tmp/list.evening")+`
		umount /mnt/dawn /mnt/noon /mnt/live
		fsck.ext4 -fn /dev/nbd1
		fsck.ext4 -fn /dev/nbd0
		for n in 0 1 2; do nbd-client -d /dev/nbd$n; done`)
}

func (d *disks) xfs() {
	d.guest.do(3*time.Minute, d.attach("disk1", "/dev/nbd0")+`
		mkfs.xfs -q /dev/nbd0
		mount -o noatime /dev/nbd0 /mnt/xfs
		cp -a /tmp/tree /mnt/xfs
		sync`+"\n"+
		list("/mnt/xfs", "/tmp/list.xfs")+"cmp /tmp/list.xfs /tmp/list.copied\n"+
		compare("/mnt/xfs", "/tmp/list.xfs"))
	d.trim("disk1", "/mnt/xfs")
	d.guest.do(2*time.Minute, `
		umount /mnt/xfs
		xfs_repair -n /dev/nbd0
		nbd-client -d /dev/nbd0`)
}

// syncLoad is a script that overwrites a file with synchronous writes, and reads back
// each block.
const syncLoad = `fio --name=load --filename=/mnt/live/load --size=32M --rw=randwrite --bs=4k --direct=1 --sync=dsync \
	--ioengine=libaio --iodepth=16 --verify=crc32c --verify_fatal=1 | grep -E 'err=|issued rwts'
`

// killAndWait kills the server under synchronous writes into a file. The
// kernel keeps the requests until the server is back: the load sees no error,
// and reads back every block it has written.
//
// All that the load writes is durable when it is acknowledged. That is no
// accident: NBD has no word by which a server could tell a client that comes
// back that writes without a flush went down with it, so a client that hides
// the outage from a file system may only do so over synchronous writes.
func (d *disks) killAndWait() {
	const limit = 4 * time.Minute
	d.guest.do(2*time.Minute, fmt.Sprintf("setsid reattach 10.0.2.2:%s disk2 /dev/nbd0 >/tmp/reattach.log 2>&1 &", d.server.port)+`
		for i in {1..600}; do grep -q attached /tmp/reattach.log && break; sleep 0.1; done
		[ "$(cat /sys/block/nbd0/queue/fua)" = 1 ] # a synchronous write is one request
		mkfs.ext4 -q /dev/nbd0
		mount -o noatime,lazytime /dev/nbd0 /mnt/live
		cp -a /usr/include /mnt/live
		head -c 32M /dev/zero >/mnt/live/load
		sync`+"\n"+list("/mnt/live/include", "/tmp/list.before"))
	before, _ := d.server.status()
	d.guest.begin(limit, syncLoad)
	d.outage(before)
	d.t.Logf("fio, written and verified: %s", strings.Join(strings.Fields(d.guest.finish(limit)), " "))
	out := d.guest.do(2*time.Minute, compare("/mnt/live/include", "/tmp/list.before")+`
		umount /mnt/live
		fsck.ext4 -fn /dev/nbd0 >/tmp/fsck 2>&1 || { cat /tmp/fsck; exit 1; }
		nbd-client -d /dev/nbd0
		dmesg | grep -E 'nbd0: (reconnected|Receive control failed)|I/O error|EXT4-fs error' || true`)
	d.t.Logf("kernel: %s", strings.TrimSpace(out))
	if !strings.Contains(out, "reconnected socket") || strings.Contains(out, "error") {
		d.t.Error("the kernel reports errors, or never reconnected")
	}
}

// outage kills the server once the load has written, and starts it again. The
// load must last longer than that.
func (d *disks) outage(before uint64) {
	d.server.waitOps(before, 500, 2*time.Minute)
	d.server.running.Kill()
	time.Sleep(outage)
	d.guest.stillBusy()
	d.server.start()
	after, _ := d.server.status()
	d.server.waitOps(after, 100, 2*time.Minute)
}

// fsyncLoad writes files into a directory, each with fsync, and notes the
// number of each that is promised to be durable, until one fails.
const fsyncLoad = `
use IO::Handle;
my ($dir, $promised) = @ARGV;
open my $log, '>', $promised or die $!;
$log->autoflush(1);
for (my $n = 1; ; $n++) {
	open my $f, '>', "$dir/$n" or last;
	print $f "file $n\n" x (200 + $n % 3000) or last;
	$f->flush && $f->sync && close $f or last;
	print $log "$n\n";
}
`

// fsyncCheck reads every promised file and prints how many there are.
const fsyncCheck = `
my ($dir, $promised) = @ARGV;
open my $log, '<', $promised or die $!;
my $count = 0;
while (my $n = <$log>) {
	chomp $n;
	open my $f, '<', "$dir/$n" or die "file $n: $!\n";
	local $/;
	<$f> eq "file $n\n" x (200 + $n % 3000) or die "file $n has other bytes\n";
	$count++;
}
print "$count\n";
`

// killAndAttachAgain is what nbd-client alone makes of a server that dies. Over
// ioctl, requests in flight fail and the device is gone (-persist changes
// nothing: the kernel ends the client's call without an error, and the client
// takes that for the end; over netlink, requests would hang until someone
// detaches the device). Attached and mounted again, the file system has every
// file that fsync had promised.
func (d *disks) killAndAttachAgain() {
	const limit = 2 * time.Minute
	attach := d.attach("disk0", "/dev/nbd0", "-nonetlink", "-persist")
	d.guest.do(limit, attach+`
		mount -o noatime /dev/nbd0 /mnt/live
		mkdir /mnt/live/promised
		cat >/tmp/load.pl <<'END'`+fsyncLoad+"END\ncat >/tmp/check.pl <<'END'"+fsyncCheck+"END\nsync")
	before, _ := d.server.status()
	d.guest.begin(limit, "perl /tmp/load.pl /mnt/live/promised /tmp/promised")
	d.server.waitOps(before, 300, limit)
	d.guest.stillBusy()
	d.server.running.Kill()
	d.guest.finish(limit)
	d.server.start()
	d.guest.do(limit, `
		umount /mnt/live
		for i in {1..300}; do nbd-client -c /dev/nbd0 || break; sleep 0.1; done`+"\n"+
		attach+"mount -o noatime /dev/nbd0 /mnt/live")
	kept := d.guest.number(limit, "perl /tmp/check.pl /mnt/live/promised /tmp/promised")
	d.t.Logf("%d files were promised by fsync, all are there", kept)
	if kept == 0 {
		d.t.Error("no file was promised before the server died")
	}
	d.guest.do(limit, `
		umount /mnt/live
		fsck.ext4 -fn /dev/nbd0
		nbd-client -d /dev/nbd0`)
}

func (d *disks) check() {
	if err := d.server.running.Stop(30 * time.Second); err != nil {
		d.t.Error(err)
	}
	d.t.Log(strings.TrimSpace(d.server.varve("check", d.server.Dir, "--data", "--json")))
}
