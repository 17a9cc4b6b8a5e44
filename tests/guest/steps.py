"""Guests whose tests are generators of steps, (name, ok, detail): each becomes one line of run.py, with the steps that failed."""
import acpi
import evdev
import gpu
import identity
import images
import introspect
import ipxe
import kernels
import lifecycle
import netframes
import nets
import netuser
import nic
import ports
import scsi
import tap
import virt
import vsock
from guest import Guest, Skip


def restarts(binary, times=10):
    """The same kernel with two CPUs again and again: a start that hangs now and then shows here."""
    kernel = images.Kernel()
    args = ["-accel", "tcg", "-M", "q35", "-m", "256", "-smp", "2", "-kernel", kernel.image, "-initrd", images.initramfs(kernel),
            "-append", "console=ttyS0 quiet panic=-1", "-device", "virtio-rng-pci", "-no-reboot"]
    for n in range(times):
        with Guest(binary, args, qmp=False) as g:
            g.expect("VIRTUE-DONE", 120)
            g.send("poweroff -f\n")
            yield f"restart {n + 1}", g.wait() == 0, g.tail()


def check(test, binary):
    """Runs one test's steps; raises with those that failed, or says how many there were."""
    n, failed = 0, []
    try:
        for name, ok, detail in test(binary):
            n += 1
            if not ok:
                failed.append(f"{name}: {detail}")
    except Skip:
        raise
    except Exception as e:
        if not failed:
            raise
        failed.append(repr(e))
    if failed:
        raise AssertionError("\n".join(failed))
    if not n:
        raise AssertionError("no step was taken")
    return f"{n} steps"


def rows(binary, full):
    """(name, function) of every test for run.py."""
    tests = []
    for group, module in (("acpi", acpi), ("kernel", kernels), ("identity", identity), ("drivers", lifecycle), ("introspect", introspect), ("tap", tap), ("nic", nic), ("nets", nets), ("netuser", netuser), ("netframes", netframes), ("ipxe", ipxe), ("vsock", vsock), ("scsi", scsi), ("input", evdev), ("display", gpu), ("serial", ports), ("libvirt", virt)):
        tests += [(f"{group}/{name}", t) for name, t in {**module.TESTS, **(module.FULL if full else {})}.items()]
    if full:
        tests.append(("restarts", restarts))
    return [(name, lambda t=t: check(t, binary)) for name, t in tests]
