"""Debian's libvirt over the emulator: a domain with a device of each kind is defined, started, asked, changed and ended by virsh. libvirtd
and its packages are seen in a mount namespace only; nothing is installed."""
import os
import re
import subprocess
import sys
import tempfile
import time

import images
import packages
import wire
from guest import Skip
from wire import ip

PACKAGES = ["libvirt0", "libvirt-daemon", "libvirt-daemon-driver-qemu", "libvirt-clients"]
PROGRAMS = ["usr/sbin/libvirtd", "usr/bin/virsh", "usr/lib/x86_64-linux-gnu/libvirt/connection-driver/libvirt_driver_qemu.so"]
# Libraries that they need and a system may lack.
LIBRARIES = {"libapparmor.so.1": "libapparmor1", "libcap-ng.so.0": "libcap-ng0", "libcurl-gnutls.so.4": "libcurl3-gnutls", "libfuse.so.2": "libfuse2",
             "libnl-3.so.200": "libnl-3-200", "libnl-route-3.so.200": "libnl-route-3-200", "libnuma.so.1": "libnuma1", "libparted.so.2": "libparted2",
             "libpcap.so.0.8": "libpcap0.8", "libpciaccess.so.0": "libpciaccess0", "libsasl2.so.2": "libsasl2-2", "libssh.so.4": "libssh-4",
             "libssh2.so.1": "libssh2-1", "libtirpc.so.3": "libtirpc3", "libxml2.so.2": "libxml2", "libyajl.so.2": "libyajl2",
             "libdevmapper.so.1.02.1": "libdevmapper1.02.1"}
MODULES = [*images.MODULES, "virtio_scsi", "sd_mod", "sr_mod", "virtio_balloon", "virtio_input", "evdev", "button"]
QEMU_CONF = """security_driver = "none"
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
cgroup_controllers = []
namespaces = []
stdio_handler = "file"
"""
LIBVIRTD_CONF = """auth_unix_rw = "none"
auth_unix_ro = "none"
unix_sock_group = "root"
log_outputs = "1:file:/run/libvirtd.log"
"""
USERS = "libvirt-qemu:x:64055:64055::/nonexistent:/bin/false\n"
# Says what is there whenever that changes, what is typed, and that the power button was pressed.
GUEST = r"""
ip link set eth0 up
for e in $(grep -A4 'Power Button\|Virtio Keyboard' /proc/bus/input/devices | grep -o 'event[0-9]*'); do
    ( while dd if=/dev/input/$e bs=24 count=1 of=/tmp/$e 2>/dev/null; do
        case $(hexdump -v -e '24/1 "%02x"' /tmp/$e) in
        ????????????????????????????????01001e0001000000) echo "KEY a" ;;
        ????????????????????????????????0100740001000000) echo POWER; poweroff -f ;;
        esac
    done ) &
done
( last=; while true; do
    now="$(cd /sys/block; echo $(ls -d vd* sd* sr*)) $(cat /sys/block/vda/size) $(cd /sys/class/net; echo $(ls -d eth*)) $(cat /sys/class/net/eth0/carrier)"
    [ "$now" = "$last" ] || echo "HAS $now."
    last=$now; sleep 0.2
done ) &
echo READY
"""
DOMAIN = """<domain type='qemu'>
  <name>one</name><memory unit='MiB'>512</memory><vcpu>2</vcpu><iothreads>1</iothreads>
  <os><type arch='x86_64' machine='{machine}'>hvm</type><kernel>{kernel}</kernel><initrd>{initrd}</initrd><cmdline>console=ttyS0 quiet</cmdline></os>
  <features><acpi/><apic/></features><on_reboot>restart</on_reboot>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'><driver name='qemu' type='raw' cache='none' discard='unmap' iothread='1'/><source file='{d}/vda.raw'/>
      <target dev='vda' bus='virtio'/><serial>VDA1</serial></disk>
    <controller type='scsi' model='virtio-scsi'/>{spare}
    <disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{d}/sda.raw'/><target dev='sda' bus='scsi'/></disk>
    <disk type='file' device='cdrom'><driver name='qemu' type='raw'/><source file='{d}/a.iso'/><target dev='sdb' bus='scsi'/><readonly/></disk>
    <controller type='usb' model='none'/><controller type='virtio-serial' index='0'/>
    <interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='br0'/><model type='virtio'/><driver name='qemu' queues='2'/></interface>
    <interface type='user'><mac address='52:54:00:00:00:02'/><model type='virtio'/></interface>
    <serial type='pty'><log file='{d}/serial.log'/></serial><console type='pty'><target type='virtio' port='1'/></console>
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    <input type='keyboard' bus='virtio'/><input type='mouse' bus='virtio'/><input type='tablet' bus='virtio'/>
    <graphics type='vnc' socket='{d}/vnc' passwd='secret'/><video><model type='virtio' heads='1' primary='yes'/></video>
    <memballoon model='virtio' autodeflate='on' freePageReporting='on'><stats period='1'/></memballoon>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng><panic model='isa'/>
  </devices>
</domain>
"""
# On q35: ports for the ten devices, and for those that are plugged in.
SPARE = {"q35": "<controller type='pci' index='0' model='pcie-root'/>" + 14 * "<controller type='pci' model='pcie-root-port'/>"}


class Virt:
    """virsh, and the guest's serial line as libvirt logs it."""

    def __init__(self, d):
        self.d, self.at = d, 0

    def sh(self, *args):
        r = subprocess.run(["virsh", "-q", "-c", "qemu:///system", *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, text=True, timeout=120, check=False)
        if r.returncode:
            raise AssertionError(f"virsh {' '.join(args)}: {r.stdout}{tail(f'/var/log/libvirt/qemu/one.log')}")
        return r.stdout

    def has(self, what, *args):
        """A step: virsh says something that matches."""
        out = self.sh(*args)
        return " ".join(args), bool(re.search(what, out, re.M)), out

    def guest(self, pattern, timeout=240):
        """Waits for the pattern on the serial line, behind what was found before."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            with open(f"{self.d}/serial.log", "rb") as f:
                text = f.read().decode(errors="replace")
            m = re.compile(pattern).search(text, self.at)
            if m:
                self.at = m.end()
                return True, ""
            time.sleep(0.1)
        return False, text[-3000:]

    def state(self, want, timeout=60):
        end = time.monotonic() + timeout
        while True:
            now = self.sh("domstate", "one").strip()
            if now == want or time.monotonic() > end:
                return f"state {want}", now == want, now
            time.sleep(0.2)


def tail(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            return f.read()[-2000:]
    except OSError:
        return ""


def looks(v):
    yield v.has("rd_req [1-9]", "domblkstat", "one", "vda")
    yield v.has("rd_req [1-9]", "domblkstat", "one", "sda")
    yield v.has("^Capacity: +67108864", "domblkinfo", "one", "vda")
    yield v.has("rx_packets [1-9]", "domifstat", "one", re.search(r"vnet\d+", v.sh("domiflist", "one"))[0])
    yield v.has("^actual 524288", "dommemstat", "one")
    yield v.has(r"block\.0\.rd\.reqs=[1-9]", "domstats", "one")
    yield v.has("running", "vcpuinfo", "one")
    yield v.has("/dev/pts/", "ttyconsole", "one")
    v.sh("screenshot", "one", f"{v.d}/shot.png")
    with open(f"{v.d}/shot.png", "rb") as f:
        yield "screenshot", f.read(8) == b"\x89PNG\r\n\x1a\n", "no PNG"


def changes(v):
    v.sh("suspend", "one")
    yield v.state("paused")
    v.sh("resume", "one")
    yield v.state("running")
    v.sh("send-key", "one", "KEY_A")
    yield "send-key", *v.guest("KEY a")
    v.sh("blockresize", "one", "vda", "80M")
    yield "blockresize", *v.guest("HAS .* 163840 ")
    v.sh("blkdeviotune", "one", "vda", "--total-iops-sec", "1000")
    yield v.has("^total_iops_sec *: 1000", "blkdeviotune", "one", "vda")
    v.sh("domif-setlink", "one", "52:54:00:00:00:01", "down")
    yield "domif-setlink down", *v.guest("HAS .* 0\\.")
    v.sh("domif-setlink", "one", "52:54:00:00:00:01", "up")
    yield "domif-setlink up", *v.guest("HAS .* 1\\.")
    v.sh("setmem", "one", "400M")
    end = time.monotonic() + 60
    while "actual 409600" not in v.sh("dommemstat", "one") and time.monotonic() < end:
        time.sleep(0.5)
    yield v.has("^actual 409600", "dommemstat", "one")
    v.sh("change-media", "one", "sdb", f"{v.d}/b.iso", "--live")
    yield v.has("b.iso", "domblklist", "one")


def plugs(v):
    for bus, name in (("virtio", "vdb"), ("scsi", "sdc")):
        v.sh("attach-disk", "one", f"{v.d}/new.raw", name, "--targetbus", bus, "--subdriver", "raw")
        seen = "vdb" if bus == "virtio" else "sdb"
        yield f"attach-disk, {bus}", *v.guest(f"HAS .*{seen} ")
        v.sh("detach-disk", "one", name)
        yield f"detach-disk, {bus}", *v.guest(rf"HAS (?!.*{seen} ).*\.")
    v.sh("attach-interface", "one", "bridge", "br0", "--model", "virtio", "--mac", "52:54:00:00:00:0a", "--live")
    yield "attach-interface", *v.guest("HAS .*eth2")
    v.sh("detach-interface", "one", "bridge", "--mac", "52:54:00:00:00:0a")
    yield "detach-interface", *v.guest(r"HAS (?!.*eth2).*\.")
    for name, xml in (("rng", "<rng model='virtio'><backend model='builtin'/></rng>"), ("input", "<input type='tablet' bus='virtio'/>"),
                      ("channel", "<channel type='unix'><target type='virtio' name='org.virtue.test'/></channel>")):
        with open(f"{v.d}/{name}.xml", "w", encoding="utf-8") as f:
            f.write(xml)
        count = v.sh("dumpxml", "one").count(f"<{name} ")
        v.sh("attach-device", "one", f"{v.d}/{name}.xml", "--live")
        yield f"attach-device, {name}", v.sh("dumpxml", "one").count(f"<{name} ") == count + 1, v.sh("dumpxml", "one")


def life(v, machine):
    kernel = images.Kernel("linux-image-amd64")
    initrd = images.initramfs(kernel, GUEST, modules=MODULES)
    for name in ("vda.raw", "sda.raw", "new.raw", "a.iso", "b.iso"):
        with open(f"{v.d}/{name}", "wb") as f:
            f.truncate(64 << 20)
    with open(f"{v.d}/one.xml", "w", encoding="utf-8") as f:
        f.write(DOMAIN.format(machine=machine, kernel=kernel.image, initrd=initrd, d=v.d, spare=SPARE.get(machine, "")))
    v.sh("define", f"{v.d}/one.xml")
    v.sh("start", "one")
    yield "start", *v.guest("READY")
    yield "the guest's devices", *v.guest(r"HAS sda sr0 vda 131072 eth0 eth1 1\.")
    for steps in (looks, changes, plugs):
        yield from steps(v)
    r = subprocess.run(["virsh", "-q", "-c", "qemu:///system", "save", "one", f"{v.d}/save"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       text=True, timeout=120, check=False)
    yield "save is refused by name", r.returncode and "has not been found" in r.stdout, r.stdout
    yield v.state("running")
    v.sh("reset", "one")
    yield "reset", *v.guest("READY")
    v.sh("shutdown", "one", "--mode", "acpi")
    yield "shutdown, the power button", *v.guest("POWER")
    yield v.state("shut off")
    v.sh("start", "one")
    v.sh("destroy", "one", "--graceful")
    yield v.state("shut off")
    v.sh("undefine", "one")


def build(d, binary, roots):
    """Lays the packages over the system's folders, for this namespace; the files are made in memory."""
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", f"{d}/over"], check=True)
    for name in ("usr", "etc", "var", "lib"):
        lower = [f"{r}/{name}" for r in roots if os.path.isdir(f"{r}/{name}")]
        if os.path.islink(f"/{name}"):
            if lower:  # /lib is /usr/lib
                subprocess.run(["cp", "-r", *[f"{p}/." for p in lower], f"/{name}/"], check=True)
            continue
        os.makedirs(f"{d}/over/{name}/up")
        os.makedirs(f"{d}/over/{name}/work")
        options = f"lowerdir={':'.join([*lower, f'/{name}'])},upperdir={d}/over/{name}/up,workdir={d}/over/{name}/work"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, f"/{name}"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", "/run"], check=True)
    subprocess.run(["mount", "--bind", "/dev/null", "/dev/kvm"], check=False, stderr=subprocess.DEVNULL)
    subprocess.run(["rm", "-f", "/usr/bin/qemu-system-x86_64"], check=True)
    subprocess.run(["cp", binary, "/usr/bin/qemu-system-x86_64"], check=True)
    os.makedirs("/etc/libvirt", exist_ok=True)
    for path, text in (("/etc/libvirt/qemu.conf", QEMU_CONF), ("/etc/libvirt/libvirtd.conf", LIBVIRTD_CONF)):
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
    for path, text in (("/etc/passwd", USERS), ("/etc/group", "libvirt-qemu:x:64055:\nkvm:x:64056:\n")):
        with open(path, "a", encoding="utf-8") as f:
            f.write(text)


def main(binary, machine, *roots):
    with tempfile.TemporaryDirectory(prefix="virtue-libvirt-") as d:
        os.chmod(d, 0o755)
        os.mkdir(f"{d}/over")
        try:
            build(d, binary, roots)
        except subprocess.CalledProcessError as e:
            print(f"SKIP {e}")
            return 0
        ip("link", "set", "lo", "up")
        ip("link", "add", "br0", "type", "bridge")
        ip("link", "set", "br0", "up")
        with open(f"{d}/out", "w", encoding="utf-8") as out, \
                subprocess.Popen(["libvirtd"], stdin=subprocess.DEVNULL, stdout=out, stderr=out) as daemon:
            try:
                end = time.monotonic() + 60
                while not os.path.exists("/run/libvirt/libvirt-sock") and daemon.poll() is None and time.monotonic() < end:
                    time.sleep(0.1)
                return wire.report(life(Virt(d), machine))
            finally:
                if daemon.poll() is not None:
                    print(tail(f"{d}/out") + tail("/run/libvirtd.log"))
                subprocess.run(["umount", "-l", f"{d}/over"], check=False)
                daemon.terminate()


def unpacked():
    """Folders of the packages, and of those with the libraries that are not there."""
    roots = [packages.unpack(p) for p in PACKAGES]
    env = dict(os.environ, LD_LIBRARY_PATH=":".join(f"{r}/usr/lib/x86_64-linux-gnu" for r in roots))
    programs = [f"{r}/{p}" for r in roots for p in PROGRAMS if os.path.exists(f"{r}/{p}")]
    missing = set(re.findall(r"(\S+) => not found", subprocess.run(["ldd", *programs], env=env, stdout=subprocess.PIPE, text=True, check=True).stdout))
    unknown = missing - set(LIBRARIES)
    if unknown:
        raise Skip(f"libvirt needs {', '.join(sorted(unknown))}")
    return roots + [packages.unpack(LIBRARIES[m]) for m in sorted(missing)]


def row(machine):
    def test(binary):
        wire.need_tap()
        yield from wire.in_namespace(os.path.abspath(__file__), binary, machine, *unpacked(), pids=True)
    return test


TESTS = {}
FULL = {machine: row(machine) for machine in ("q35", "pc")}
if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
