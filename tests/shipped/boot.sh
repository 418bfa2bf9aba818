#!/bin/sh
# Boots systemd as the first process of a machine of its own: tests/shipped/test_systemd.py. It is called in
# namespaces of its own (processes, mounts, network, cgroups); what it writes is in memory and gone with it.
#
#   boot.sh FOLDER CGROUP2 UNIT
set -eu
folder=$1 cgroups=$2 unit=$3

ip link set lo up
mount -t tmpfs -o mode=755 evenkeel-test "$folder"
mkdir "$folder/changes" "$folder/work" "$folder/root"
mount -t overlay -o "lowerdir=/,upperdir=$folder/changes,workdir=$folder/work" overlay "$folder/root"
cd "$folder/root"

mount -t proc proc proc
# What belongs to the whole machine is not for those within to change.
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t tmpfs -o mode=755 sys sys
mkdir -p sys/fs/cgroup
mount --bind "$cgroups" sys/fs/cgroup
mount -o remount,ro sys
mount -t tmpfs -o mode=755 dev dev
for device in null zero full random urandom tty; do
    touch "dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=1777 shm dev/shm
mount -t tmpfs -o mode=755 run run
mount -t tmpfs -o mode=1777 tmp tmp

# Nothing of this machine's own services, and nobody who says that none may be started.
rm -f usr/sbin/policy-rc.d
: >etc/fstab
: >etc/crypttab
rm -rf etc/systemd/system/*.wants etc/systemd/system/*.requires
for name in systemd-udevd systemd-udev-trigger systemd-logind systemd-networkd systemd-resolved \
    systemd-timesyncd systemd-modules-load systemd-sysctl networking; do
    ln -sf /dev/null "etc/systemd/system/$name.service"
done
printf '[Unit]\nRequires=basic.target\nAfter=basic.target\n' >"etc/systemd/system/$unit"
exec env -i container=evenkeel-test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    chroot . /lib/systemd/systemd "--unit=$unit"
