"""One measurement each: start-up to the QMP greeting and to query-status, private dirty memory, a boot to power-off."""
import ctypes
import fcntl
import json
import mmap
import os
import re
import resource
import select
import signal
import socket
import struct
import subprocess
import tempfile
import time

VIRTIO = ["-M", "q35", "-accel", "tcg", "-S", "-device", "virtio-rng-pci", "-device", "virtio-serial-pci", "-netdev", "user,id=n0",
          "-device", "virtio-net-pci,netdev=n0", "-drive", "if=none,id=d0,file=null-co://,format=raw",
          "-device", "virtio-blk-pci,drive=d0", "-device", "virtio-rng-pci", "-device", "virtio-serial-pci"]


class Child:
    """An emulator that connects to our QMP socket; times count from just before exec."""

    def __init__(self, binary, args):
        self.dir = tempfile.TemporaryDirectory(prefix="virtue-bench-")
        path = f"{self.dir.name}/qmp"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(1)
        cmd = [binary, "-nodefaults", "-display", "none", *args, "-chardev", f"socket,id=q,path={path}", "-mon", "chardev=q,mode=control"]
        self.start = time.monotonic()
        self.p = subprocess.Popen(cmd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        r, _, _ = select.select([listener], [], [], 30)
        if not r:
            self.p.kill()
            raise RuntimeError(f"{' '.join(cmd)}: {self.p.communicate()[1].decode()}")
        self.sock, _ = listener.accept()
        listener.close()
        self.file = self.sock.makefile("rw")
        self.file.readline()
        self.greeting = time.monotonic() - self.start

    def command(self, name, **arguments):
        self.file.write(json.dumps({"execute": name, "arguments": arguments} if arguments else {"execute": name}) + "\n")
        self.file.flush()
        while True:
            m = json.loads(self.file.readline())
            if "error" in m:
                raise RuntimeError(m["error"]["desc"])
            if "event" not in m:
                return m["return"]

    def close(self):
        self.p.send_signal(signal.SIGKILL)
        self.p.wait()
        self.p.stderr.close()
        self.file.close()
        self.sock.close()
        self.dir.cleanup()


def startup(binary, args):
    """(seconds to the greeting, seconds to query-status's reply)."""
    c = Child(binary, args)
    try:
        c.command("qmp_capabilities")
        c.command("query-status")
        return c.greeting, time.monotonic() - c.start
    finally:
        c.close()


def private_dirty(binary, args):
    """MiB of private dirty memory once the machine stands and answers."""
    c = Child(binary, args)
    try:
        c.command("qmp_capabilities")
        c.command("query-status")
        with open(f"/proc/{c.p.pid}/smaps_rollup", encoding="ascii") as f:
            return int(re.search(r"^Private_Dirty: +(\d+) kB", f.read(), re.M)[1]) / 1024
    finally:
        c.close()


def device_add(binary, args, bus):
    """Seconds to the reply of device_add of a network function."""
    c = Child(binary, [*args, "-accel", "tcg", "-S", "-netdev", "user,id=n0"])
    try:
        c.command("qmp_capabilities")
        c.command("query-status")
        at = time.monotonic()
        c.command("device_add", driver="virtio-net-pci", id="nic", netdev="n0", bus=bus)
        return time.monotonic() - at
    finally:
        c.close()


def kvm_floor():
    """Seconds for a VM with interrupt controllers, 512 MB and a vCPU from the kernel, without any emulator (linux/kvm.h)."""
    create_vm, create_vcpu, set_region, create_irqchip = 0xAE01, 0xAE41, 0x4020AE46, 0xAE60
    at = time.monotonic()
    try:
        kvm = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
    except OSError as e:
        raise RuntimeError(f"/dev/kvm: {e.strerror}") from e
    try:
        vm = fcntl.ioctl(kvm, create_vm, 0)
        fcntl.ioctl(vm, create_irqchip, 0)
        with mmap.mmap(-1, 512 << 20) as ram:
            where = ctypes.addressof(ctypes.c_char.from_buffer(ram))
            fcntl.ioctl(vm, set_region, struct.pack("<IIQQQ", 0, 0, 0, 512 << 20, where))
            vcpu = fcntl.ioctl(vm, create_vcpu, 0)
            took = time.monotonic() - at
            os.close(vcpu)
            os.close(vm)
    except BufferError:  # the address keeps the mapping; it goes with the process
        pass
    finally:
        os.close(kvm)
    return took


def boot(binary, args, timeout=300):
    """(wall seconds, CPU seconds) of a guest that powers itself off."""
    before, at = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    r = subprocess.run([binary, "-nodefaults", "-display", "none", "-serial", "stdio", *args], stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if r.returncode or b"VIRTUE-OFF" not in r.stdout:
        raise RuntimeError(f"{binary}: status {r.returncode}\n{r.stdout[-1000:].decode(errors='replace')}")
    return time.monotonic() - at, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def host():
    """Lines about the machine this runs on."""
    with open("/proc/cpuinfo", encoding="ascii") as f:
        model = re.search(r"^model name\s*: (.*)$", f.read(), re.M)
    with open("/proc/meminfo", encoding="ascii") as f:
        memory = int(re.search(r"^MemTotal: +(\d+)", f.read(), re.M)[1]) >> 20
    return [f"CPU: {model[1] if model else 'unknown'}, {os.cpu_count()} visible", f"memory: {memory} GiB",
            f"kernel: {os.uname().release}", f"load at the start: {os.getloadavg()[0]:.1f}"]
