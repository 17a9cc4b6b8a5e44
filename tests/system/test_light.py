#!/usr/bin/env python3
"""Start-up time and memory against fixed bars: greeting within 10 ms, 6 MiB private dirty, libraries when they are used."""
import os
import re
import statistics
import sys
import tempfile

import vm
from vm import Skip, test

sys.path.insert(0, f"{vm.HERE}/../bench")
import measure  # noqa: E402

# Test runners set it: malloc() would write to what nobody uses.
os.environ.pop("MALLOC_PERTURB_", None)


@test("exec to QMP greeting: median of 15 within 10 ms")
def greeting():
    for args in (["-M", "none"], ["-M", "q35", "-accel", "tcg", "-S"]):
        measure.startup(vm.BIN, args)
        # Other work on the host only ever adds: the best of three medians counts.
        medians = [statistics.median(measure.startup(vm.BIN, args)[0] for _ in range(15)) * 1e3 for _ in range(3)]
        if min(medians) > 10 and os.getloadavg()[0] > 2 * (os.cpu_count() or 1):
            raise Skip(f"the host is loaded ({os.getloadavg()[0]:.1f}); medians {medians} ms")
        assert min(medians) <= 10, f"{' '.join(args)}: medians {medians} ms"


@test("-M q35 -nodefaults -S -m 512: at most 6 MiB private dirty")
def memory():
    for args in (["-M", "q35", "-S", "-m", "512"], ["-M", "pc", "-S", "-m", "512"]):
        mib = measure.private_dirty(vm.BIN, args)
        assert mib <= 6, f"{' '.join(args)}: {mib:.1f} MiB"


# Net, disk, SCSI, balloon, keyboard, GPU.
SIX = ["-M", "q35", "-accel", "tcg", "-S", "-m", "512", "-nodefaults", "-device", "virtio-net-pci", "-blockdev", "driver=null-co,node-name=d",
       "-device", "virtio-blk-pci,drive=d", "-device", "virtio-scsi-pci", "-device", "virtio-balloon-pci", "-device", "virtio-keyboard-pci",
       "-device", "virtio-gpu-pci,id=g"]
DISPLAY = re.compile(r"/lib(?:pixman|png|vncserver|jpeg|gnutls|lzo|sasl)[\w.+-]*\.so")


def libraries(child):
    with open(f"/proc/{child.p.pid}/maps", encoding="utf-8") as f:
        return sorted(set(DISPLAY.findall(f.read())))


@test("six devices, with and without GPU: at most 4 MiB private dirty, the GPU's share at most 256 KiB")
def six():
    without, mib = measure.private_dirty(vm.BIN, SIX[:-2]), measure.private_dirty(vm.BIN, SIX)
    assert mib <= 4 and mib - without <= 0.25, f"{mib:.2f} MiB, {without:.2f} without the GPU"


@test("no library of displays is loaded before somebody looks")
def lazy():
    for args in (SIX, ["-M", "pc", "-S", "-vga", "std"], ["-M", "q35", "-S", "-vga", "virtio"]):
        c = measure.Child(vm.BIN, args)
        try:
            c.command("qmp_capabilities")
            c.command("query-status")
            assert not libraries(c), f"{' '.join(args)}: {libraries(c)}"
            with tempfile.TemporaryDirectory() as d:
                c.command("screendump", filename=f"{d}/x.ppm")
            assert [n for n in libraries(c) if "pixman" in n], "screendump needs pixman"
        finally:
            c.close()


vm.main()
