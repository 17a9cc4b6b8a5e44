"""Debian's cloud kernel on -M microvm: with ACPI, and without any firmware table; virtio-pci over ECAM or ports, MSI-X or wires."""
import re
import shutil
import tempfile

import images
from guest import Guest

PROBE = r"""
dmesg -n 1
echo "cpus=$(grep -c ^processor /proc/cpuinfo)"
n=0; while [ ! -b /dev/vda ] && [ $n -lt 100 ]; do sleep 0.1; n=$((n + 1)); done
echo "disk=$(dd if=/dev/vda bs=1M count=1 2>/dev/null | sha256sum | cut -d' ' -f1)"
dd if=/dev/zero of=/dev/vda bs=4k count=16 seek=512 conv=fsync 2>/dev/null && echo "write=ok"
echo "msi=$(grep -c 'PCI-MSI.*virtio' /proc/interrupts) wires=$(grep -c 'IO-APIC.*virtio' /proc/interrupts)"
dmesg | grep -E 'BUG|WARNING|Oops|ACPI.*Error' | grep -v 'RSDP was not found' && echo "complaints=yes"
"""


def boot(binary, options="", smp=1, acpi=True, vectors=""):
    # Never acpi=off for the kernel: where it knows no other tables it turns the local APIC off with them, and MSI-X is gone.
    kernel = images.Kernel()
    with tempfile.TemporaryDirectory(prefix="virtue-microvm-") as d:
        disk = f"{d}/disk"
        shutil.copy(images.rootfs(), disk)
        args = ["-accel", "tcg", "-M", f"microvm{options}", "-m", "512", "-smp", str(smp), "-kernel", kernel.image,
                "-initrd", images.initramfs(kernel, PROBE), "-append", "console=ttyS0 panic=-1", "-no-reboot",
                "-drive", f"if=none,id=d0,file={disk},format=raw", "-device", f"virtio-blk-pci,drive=d0{vectors}"]
        with Guest(binary, args) as g:
            g.expect("VIRTUE-DONE", 180)
            text = g.text.replace("\r", "")
            g.send("poweroff -f\n" if acpi else "reboot -f\n")  # without ACPI there is no power switch
            rc = g.wait(60)
    wires = "vectors=0" in vectors
    for want in (f"cpus={smp}", "write=ok", "msi=0 wires=1" if wires else "msi=[2-9] wires=0"):
        if not re.search(want, text):
            raise RuntimeError(f"no '{want}' in\n{text[-6000:]}")
    if "complaints=yes" in text or rc:
        raise RuntimeError(f"status {rc}\n{text[-6000:]}")


def rows(binary, full):
    found = [("microvm/acpi/smp2", lambda: boot(binary, smp=2))]
    if full:
        found += [("microvm/no-acpi", lambda: boot(binary, ",acpi=off", acpi=False)),
                  ("microvm/acpi/intx", lambda: boot(binary, vectors=",vectors=0")),
                  ("microvm/acpi/no-rtc", lambda: boot(binary, ",rtc=off"))]
    return found
