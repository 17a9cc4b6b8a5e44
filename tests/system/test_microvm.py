#!/usr/bin/env python3
"""-M microvm: its options' messages, the device tree it writes, the one it hands to a kernel."""
import os
import struct
import subprocess
import sys
import tempfile

import vm
from vm import Skip, test

sys.path.insert(0, f"{vm.HERE}/../guest")
METAL = f"{os.path.dirname(os.path.abspath(vm.BIN))}/tests/guest/metal/metal-pvh.elf"


def run(*args):
    p = subprocess.run([vm.BIN, "-display", "none", "-nodefaults", "-accel", "tcg", *args], stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False)
    return p.returncode, p.stdout.decode(errors="replace")


def kernel_elf():
    if not os.path.exists(METAL):
        raise Skip(f"no {METAL}")
    return METAL


@test("what it cannot do is refused by name")
def refused():
    elf = kernel_elf()
    for args, text in ((["-M", "microvm"], "machine 'microvm' has no firmware: -kernel is needed"),
                       (["-M", "microvm,pcie=off", "-kernel", elf], "machine 'microvm': pcie=off (devices are on PCIe only) is not supported"),
                       (["-M", "microvm,pic=off", "-kernel", elf], "machine 'microvm': pic=off is not supported"),
                       (["-M", "microvm,ioapic2=on", "-kernel", elf], "machine 'microvm': ioapic2=on is not supported"),
                       (["-M", "microvm", "-kernel", elf, "-dtb", elf], "-dtb: this kernel takes no device tree")):
        rc, said = run(*args)
        assert rc == 1 and said.strip().endswith(text), (rc, said)


@test("dumpdtb= writes a tree with what the machine has, and ends")
def dump():
    with tempfile.TemporaryDirectory() as d:
        rc, said = run("-M", f"microvm,dumpdtb={d}/dtb", "-kernel", kernel_elf(), "-smp", "2", "-m", "4G", "-append", "test=none")
        assert rc == 0 and "dtb dumped to" in said, (rc, said)
        with open(f"{d}/dtb", "rb") as f:
            tree = f.read()
    magic, size = struct.unpack(">II", tree[:8])
    assert magic == 0xD00DFEED and size == len(tree)
    for name in (b"pcie@e0000000\0", b"ioapic@fec00000\0", b"cpu@1\0", b"test=none\0", b"pci-host-ecam-generic\0"):
        assert name in tree, name
    assert struct.pack(">8I", 0, 0, 0, 0xC0000000, 1, 0, 0, 0x40000000) in tree, "memory"


@test("-dtb reaches a bzImage as setup_data")
def handed_over():
    import images  # here: it may have to fetch a kernel
    kernel = images.Kernel().image
    with tempfile.TemporaryDirectory() as d:
        run("-M", f"microvm,dumpdtb={d}/dtb", "-kernel", kernel_elf())
        with open(f"{d}/dtb", "rb") as f:
            tree = f.read()
        args = ["-accel", "tcg", "-M", "microvm", "-S", "-kernel", kernel, "-dtb", f"{d}/dtb"]
        with vm.Vm(args) as v:
            def words(at, n):
                return [int(w, 16) for line in v.qmp.hmp(f"xp /{n}gx {at:#x}").splitlines() for w in line.split(":")[1].split()]
            at = words(0x10250, 1)[0]
            assert at
            n = len(tree) // 8
            saved = struct.pack(f"<{n + 2}Q", *words(at, n + 2))
    assert saved[:16] == struct.pack("<QII", 0, 2, len(tree)), saved[:16]
    assert saved[16:] == tree[:8 * n]
    rc, said = run("-M", "microvm", "-kernel", kernel, "-dtb", kernel)
    assert rc == 1 and said.strip().endswith("is not a device tree"), (rc, said)


vm.main()
