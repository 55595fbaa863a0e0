#!/usr/bin/env bash
# Builds the Debian guest of the virtual machine tests, unless it is there, and
# prints the directory that holds it: vmlinuz, initrd.img, root.img.
#
# The guest is kept under the hash of this script and of init, so that a change
# of either builds a new one; older ones are removed. VARVE_VM_MIRROR names a
# Debian mirror; without it the one this machine's apt uses is taken.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
PATH=$PATH:/usr/sbin:/sbin

suite=bookworm
packages=(
	linux-image-amd64 kmod udev procps iproute2 netbase time
	nbd-client nfs-common open-iscsi multipath-tools lvm2
	e2fsprogs xfsprogs attr acl
	fio sqlite3 git gcc libc6-dev make perl
)

cache=${XDG_CACHE_HOME:-$HOME/.cache}/varve-vm
hash=$(cat "$here/build.sh" "$here/init" | sha256sum | cut -c1-16)
if [ -e "$cache/$hash" ]; then
	echo "$cache/$hash"
	exit
fi

# debootstrap mounts inside the tree; a mount namespace of our own takes those
# mounts away with us, however we end.
if [ -z "${VARVE_VM_UNSHARED:-}" ]; then
	[ "$(id -u)" -eq 0 ] || { echo "building the guest needs root (debootstrap)" >&2; exit 1; }
	VARVE_VM_UNSHARED=1 exec unshare --mount --propagation private "$here/build.sh"
fi

mkdir -p "$cache"
exec 9>"$cache/lock" # one builder at a time; whoever waited finds the result
flock 9
if [ -e "$cache/$hash" ]; then
	echo "$cache/$hash"
	exit
fi

mirror=${VARVE_VM_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | head -n 1)}
[ -n "$mirror" ] || { echo "no Debian mirror among the apt sources: set VARVE_VM_MIRROR" >&2; exit 1; }

find "$cache" -mindepth 1 -maxdepth 1 ! -name lock -exec rm -rf --one-file-system {} +
work=$(mktemp -d "$cache/building-XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
root=$work/root

list=$(IFS=,; echo "${packages[*]}")
if ! debootstrap --variant=minbase --include="$list" "$suite" "$root" "$mirror" >"$work/log" 2>&1; then
	tail -n 30 "$work/log" "$root/debootstrap/debootstrap.log" >&2
	exit 1
fi
for mounted in proc sys; do
	! mountpoint -q "$root/$mounted" || umount --lazy "$root/$mounted"
done
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
install -m 755 "$here/init" "$root/vm-init"

mkdir "$work/guest"
cp "$root"/boot/vmlinuz-* "$work/guest/vmlinuz"
cp "$root"/boot/initrd.img-* "$work/guest/initrd.img"
truncate -s 3G "$work/guest/root.img"
mke2fs -q -t ext4 -d "$root" "$work/guest/root.img" 2>&1 | tail -n 5 >&2
chmod 755 "$work/guest"
mv -T "$work/guest" "$cache/$hash"
echo "$cache/$hash"
