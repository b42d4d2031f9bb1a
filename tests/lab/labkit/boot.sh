#!/bin/bash
# PID 1 of a lab hypervisor, inside its new network, mount, UTS and PID namespaces:
#   boot.sh NAME DIR PROJECT INDEX COUNT DAEMON DATAPATH
# It makes a private view of what a host has to itself, starts Open vSwitch, vnetd and libvirt as a
# host's boot does, and then reaps orphans: QEMU's daemonized probe would stay a zombie for ever
# under a PID 1 that does not, and libvirtd would wait for it.
set -e
name=$1 dir=$2 project=$3 index=$4 count=$5 daemon=$6 datapath=$7
hostname "$name"
mount --make-rprivate /
umount -l /sys 2>/dev/null || true; mount -t sysfs sysfs /sys
mkdir -p /etc/vnetd /etc/libvirt /etc/bash_completion.d /etc/systemd/system
for folder in /run /var/lib/libvirt /var/cache/libvirt /var/log /etc/openvswitch /var/lib/openvswitch \
              /etc/vnetd /etc/bash_completion.d /etc/systemd/system; do
  mkdir -p "$folder"; mount -t tmpfs tmpfs "$folder"; done
mkdir -p /run/openvswitch /run/libvirt /run/lock /run/lab-guests /var/log/libvirt/qemu /var/log/openvswitch /var/lib/libvirt/qemu
cp -a /etc/libvirt/. "$dir/etc-libvirt/"; mount --bind "$dir/etc-libvirt" /etc/libvirt
rm -rf /etc/libvirt/hooks /etc/libvirt/qemu/autostart /etc/libvirt/qemu/networks; mkdir -p /etc/libvirt/hooks /etc/libvirt/qemu/networks
printf 'namespaces = []\ncgroup_controllers = []\nsecurity_driver = "none"\nuser = "root"\ngroup = "root"\n' >> /etc/libvirt/qemu.conf
printf 'listen_tls = 0\nlisten_tcp = 1\nauth_tcp = "none"\n' >> /etc/libvirt/libvirtd.conf
# A name that no file has would cost libvirtd ten seconds of DNS each time.
printf 'hosts: files\npasswd: files\ngroup: files\n' > /run/nsswitch.conf; mount --bind /run/nsswitch.conf /etc/nsswitch.conf
printf '127.0.0.1 localhost\n' > /run/hosts
for i in $(seq "$count"); do printf '192.0.2.%d hv%d\n' $((10 + i)) "$i" >> /run/hosts; done
mount --bind /run/hosts /etc/hosts
# A /dev without kvm: where KVM is there but does not work, libvirt probes QEMU for ten seconds at each start.
mkdir /run/dev; mount -t tmpfs -o mode=755 tmpfs /run/dev; cd /run/dev; mkdir net pts shm
mknod -m666 null c 1 3; mknod -m666 zero c 1 5; mknod -m666 full c 1 7; mknod -m666 random c 1 8; mknod -m666 urandom c 1 9
mknod -m666 tty c 5 0; mknod -m666 net/tun c 10 200; ln -s pts/ptmx ptmx; ln -s /proc/self/fd fd
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts pts; mount -t tmpfs tmpfs shm; mount --move /run/dev /dev; cd /

printf '#!/bin/bash\nset -e\n[ -e /etc/openvswitch/conf.db ] || ovsdb-tool create /etc/openvswitch/conf.db /usr/share/openvswitch/vswitch.ovsschema\novsdb-server /etc/openvswitch/conf.db --remote=punix:/run/openvswitch/db.sock --pidfile --log-file --detach --no-chdir 2> /dev/null\n' > /run/start-ovsdb
printf '#!/bin/bash\nexec ovs-vswitchd --pidfile --log-file --detach --no-chdir 2> /dev/null\n' > /run/start-vswitchd
ln -s "$project/tests/lab/labkit/start-vnetd" /run/start-vnetd
printf '#!/bin/bash\nvirtlogd -d 2>/dev/null || true; exec libvirtd -l -d\n' > /run/start-libvirtd
chmod +x /run/start-*
/run/start-ovsdb
ovs-vsctl --no-wait init
# One that starts in the machine's first ten seconds takes their count for "never" somewhere, and makes no threads for what the
# kernel asks it.
while read -r up _ < /proc/uptime && [ "${up%%.*}" -lt 10 ]; do sleep 0.1; done
/run/start-vswitchd

# The underlay: tunnels of the userspace datapath need their address on a bridge of Open vSwitch's. The kernel hears
# what comes to that bridge's NIC as well, and would answer ARP for the address with the MAC address of the NIC, which
# is not the bridge's: Open vSwitch does not take that of a veth for it. The others' tunnels would then send in vain.
ip link set eth0 up; ip link set eth1 up
underlay=eth0
if [ "$datapath" = netdev ]; then
  ovs-vsctl add-br br-phy -- set bridge br-phy datapath_type=netdev -- add-port br-phy eth0
  echo 1 > /proc/sys/net/ipv4/conf/eth0/arp_ignore
  underlay=br-phy
fi
ip addr add "192.0.2.$((10 + index))/24" dev $underlay; ip -6 addr add "2001:db8::$((10 + index))/64" dev $underlay nodad; ip link set $underlay up

export PATH="$project/.venv/bin:$PATH"
vnetctl install > /run/vnetctl-install.log
echo "datapath_type = \"$datapath\"" > /etc/vnetd/vnetd.toml
[ "$daemon" = yes ] && /run/start-vnetd
/run/start-libvirtd
for i in $(seq 3000); do virsh -q list > /dev/null 2>&1 && break; sleep 0.02; done
virsh -q list > /dev/null
touch "$dir/ready"
trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done
