#!/bin/bash
# PID 1 in a kernel of the lab's own (kernel.py), which started with this machine's files as its root, read-only. It puts a
# root of memory above them, loads what a host has loaded, runs $lab_folder/command and leaves its status in $lab_folder/status.
set -e
# Read whole before any of it runs: the file is the machine's, where it may change meanwhile.
{
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
. "$lab_folder/settings"
modprobe -d "$base" overlay
mount -t tmpfs -o size=80%,mode=755 tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work overlay /mnt/root
cd /mnt/root

mount -t proc proc proc; mount -t sysfs sysfs sys; mount -t cgroup2 cgroup2 sys/fs/cgroup || true
mount -t devtmpfs dev dev; mkdir -p dev/pts dev/shm dev/net
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts; ln -sf pts/ptmx dev/ptmx
for link in fd: stdin:/0 stdout:/1 stderr:/2; do [ -e "dev/${link%%:*}" ] || ln -s "/proc/self/fd${link#*:}" "dev/${link%%:*}"; done
[ -e dev/net/tun ] || mknod -m 666 dev/net/tun c 10 200
mount -t tmpfs -o mode=1777 tmpfs dev/shm; mount -t tmpfs -o mode=755 tmpfs run; mkdir -p run/lock run/netns
# Labs of the machine's own are none of this kernel's.
rm -rf var/lib/vnetd-lab
mkdir -p "lib/modules/$version"; mount --bind "$base/lib/modules/$version" "lib/modules/$version"
# Newer kernels have a name for the option that was one without a name.
for folder in "$lab_folder" "${shared[@]}"; do
  mkdir -p ".$folder"
  mount -t hostfs -o "hostfs=$folder" none ".$folder" 2> /dev/null || mount -t hostfs -o "$folder" none ".$folder"
done
mkdir -p mnt/old; pivot_root . mnt/old; cd /
umount -l /mnt/old/mnt || true

hostname lab-kernel
ip link set lo up
# Not every kernel has each as a module.
for module in tun veth bridge 8021q bonding dummy openvswitch vport-gre vport-vxlan vport-geneve ip_gre ip6_gre vxlan geneve nf_conntrack \
              sch_htb sch_ingress sch_netem cls_matchall cls_u32 cls_flower cls_basic act_police act_gact act_mirred act_csum; do
  modprobe -q "$module" || true; done
set +e
if [ "$shell" ]; then
  setsid --ctty bash "$lab_folder/command" < /dev/tty1 > /dev/tty1 2>&1
else
  # Its lines are to end as it ends them. One who stays has the terminal open, so that it stays like that.
  exec 3> /dev/tty1
  stty -opost < /dev/tty1
  bash "$lab_folder/command" < /dev/null > /dev/tty1 2>&1 3>&-
fi
echo $? > "$lab_folder/status"
sync; exec busybox poweroff -f
}
