package vm

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

const (
	cutTime   = 20 * time.Second
	cutWrites = 250 // files that the guest writes and syncs meanwhile
)

// TestISCSI is a disk's life under the kernel's initiator: a file system on it, a
// connection that is cut, a server that dies, and two paths of which one dies.
func TestISCSI(t *testing.T) {
	ports := []string{freePort(t), freePort(t)}
	s := serve(t, "--iscsi", "127.0.0.1:"+ports[0], "--iscsi", "127.0.0.1:"+ports[1])
	for _, volume := range []string{"disk0", "disk1"} {
		s.varve("volume", "create", volume, "--size", "1G")
	}
	g := boot(t)
	g.do(time.Minute, `
		modprobe -a iscsi_tcp sd_mod dm_multipath scsi_dh_alua
		/lib/systemd/systemd-udevd --daemon
		mkdir -p /mnt/live /run/lock/iscsi /tmp/tree
		echo InitiatorName=iqn.1993-08.org.debian:01:guest >/etc/iscsi/initiatorname.iscsi
		iscsid
		cp -a /usr/include /tmp/tree`)
	d := &paths{disks: disks{server: s, guest: g, t: t}}
	for _, port := range ports {
		d.proxies = append(d.proxies, newProxy(t, "127.0.0.1:"+port))
	}
	d.phase("log in, ext4: copy, trim", d.ext4)
	d.phase("the connection is cut for 20 s", d.cut)
	d.phase("kill -9 under load, and a new server", d.kill)
	d.phase("two paths, one dies", d.multipath)
	d.phase("stop and check", d.check)
}

// paths is the state of TestISCSI.
type paths struct {
	disks
	proxies []*proxy
}

// login is a script line that logs in to a volume over one of the proxies.
func (d *paths) login(volume string, over int, settings ...string) string {
	node := fmt.Sprintf("iscsiadm -m node -T iqn.2026-11.varve:%s -p 10.0.2.2:%s,%d", volume, d.proxies[over].port(), over+1)
	lines := node + " -o new >/dev/null\n"
	for _, s := range append(settings, "node.conn[0].timeo.noop_out_interval=5", "node.conn[0].timeo.noop_out_timeout=5") {
		name, value, _ := strings.Cut(s, "=")
		lines += fmt.Sprintf("%s -o update -n '%s' -v %s\n", node, name, value)
	}
	return lines + node + " --login\nudevadm settle\n"
}

// device is a script line that sets $dev to the only disk of that many bytes
// that the kernel's initiator has.
const device = `dev=/dev/$(for b in /sys/block/sd*; do [ -e $b ] && basename $b; done | tail -n 1); [ -b $dev ]; [ "$(blockdev --getsize64 $dev)" = 1073741824 ]
`

func (d *paths) ext4() {
	out := d.guest.do(3*time.Minute, d.login("disk0", 0)+device+`
		grep -H . /sys/block/$(basename $dev)/device/{vendor,model,rev} /sys/block/$(basename $dev)/queue/{write_cache,discard_max_bytes,max_sectors_kb}
		mkfs.ext4 -q $dev
		mount -o noatime $dev /mnt/live
		cp -a /tmp/tree /mnt/live
		sync`+"\n"+list("/mnt/live", "/tmp/list.copied"))
	d.t.Logf("%s", strings.TrimSpace(out))
	if !strings.Contains(out, "write back") {
		d.t.Error("the kernel believes in no write cache: it sends no flushes")
	}
	d.guest.do(2*time.Minute, compare("/mnt/live", "/tmp/list.copied"))
	d.trim("disk0", "/mnt/live")
}

// load is a script that writes and syncs files one after the other.
var load = fmt.Sprintf(`for i in $(seq %d); do head -c 20000 /dev/urandom >/mnt/live/load.$i; sync /mnt/live/load.$i; done
sha256sum /mnt/live/load.* >/tmp/list.load
echo 3 >/proc/sys/vm/drop_caches
sha256sum --quiet -c /tmp/list.load
`, cutWrites)

// What the kernel says when an outage has done harm: to a file system on a disk, and
// to one on a disk of several paths, where the death of a path is an I/O error of it.
const (
	harm      = "I/O error|remounting|EXT4-fs error"
	harmAbove = "error.* dm-[0-9]|remounting|EXT4-fs error"
)

// outage runs a load while the server is kept from answering, and returns what it and
// the kernel said. It fails if that is of harm.
func (d *paths) outage(harm, load string, body func()) string {
	const limit = 3 * time.Minute
	lsn, _ := d.server.status()
	unharmed := fmt.Sprintf("if dmesg | grep -iE '%s'; then exit 1; fi\n", harm) // not "! ...": that never ends a script
	d.guest.begin(limit, "dmesg -C\n"+load+unharmed+"dmesg | grep -iE 'connection|session' | tail -n 5\nrm /mnt/live/load*")
	d.server.waitOps(lsn, 20, time.Minute)
	d.guest.stillBusy()
	body()
	d.guest.stillBusy()
	return d.guest.finish(limit)
}

func (d *paths) cut() {
	d.t.Log(d.outage(harm, load, func() {
		d.proxies[0].lose(true)
		time.Sleep(cutTime)
		d.proxies[0].lose(false)
	}))
	d.guest.do(2*time.Minute, compare("/mnt/live", "/tmp/list.copied"))
}

// kill is what killAndWait is for NBD, and for the same reason its load takes nothing
// for written but what is durable: an initiator that comes back is told that the
// target is a new one, and Linux does not mind.
func (d *paths) kill() {
	d.guest.do(time.Minute, device+`
		[ "$(cat /sys/block/$(basename $dev)/queue/fua)" = 1 ]
		mount -o remount,lazytime /mnt/live
		head -c 32M /dev/zero >/mnt/live/load
		sync`)
	d.t.Log(d.outage(harm, syncLoad, func() {
		d.proxies[0].refuse(d.t, func() {
			d.server.running.Kill()
			time.Sleep(outage)
			d.server.start()
		})
	}))
	d.guest.do(3*time.Minute, compare("/mnt/live", "/tmp/list.copied")+device+`
		umount /mnt/live
		fsck.ext4 -fn $dev
		iscsiadm -m node --logoutall=all`)
}

func (d *paths) multipath() {
	out := d.guest.do(2*time.Minute, `
		printf 'defaults {\n user_friendly_names no\n find_multipaths no\n polling_interval 2\n no_path_retry 30\n}\n' >/etc/multipath.conf
		mkdir -p /run/multipath
		multipathd
		`+d.login("disk1", 0, "node.session.timeo.replacement_timeout=5")+d.login("disk1", 1, "node.session.timeo.replacement_timeout=5")+`
		for i in $(seq 60); do [ "$(multipath -ll | grep -c 'active ready')" = 2 ] && break; sleep 0.5; done
		multipath -ll
		ls /dev/mapper`)
	d.t.Log(out)
	if strings.Count(out, "active ready") != 2 || !strings.Contains(out, "alua") {
		d.t.Fatalf("not two paths of one disk with ALUA")
	}
	d.guest.do(time.Minute, `
		dev=/dev/mapper/$(multipath -ll -v1 | head -n 1)
		mkfs.ext4 -q $dev
		mount -o noatime $dev /mnt/live`)
	d.t.Log(d.outage(harmAbove, load, func() { d.proxies[0].die() }))
	out = d.guest.do(2*time.Minute, "multipath -ll\numount /mnt/live\nfsck.ext4 -fn /dev/mapper/$(multipath -ll -v1 | head -n 1)")
	d.t.Log(out)
	if strings.Count(out, "active ready") != 1 {
		d.t.Error("the dead path is not seen, or the other one is gone")
	}
}
