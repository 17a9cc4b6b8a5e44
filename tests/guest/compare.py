#!/usr/bin/env python3
"""The same guest on ours and on QEMU 10.0, compared from inside: configuration space of all PCI functions, their resources,
/proc/interrupts, I/O ports, ACPI's tables and devices. IDE 01.1 and AHCI 1f.2 are left out."""
import os
import re
import sys

import images
import packages
from guest import Guest, Skip

PROBE = r"""
dmesg -n 1
n=0; while [ ! -b /dev/vda ] && [ $n -lt 100 ]; do sleep 0.1; n=$((n + 1)); done
dd if=/dev/vda of=/dev/null bs=64k count=4 2>/dev/null
for d in /sys/bus/pci/devices/*; do
    a=${d##*/}; a=${a#0000:}
    echo "pci $a config $(hexdump -v -e '1/1 "%02x"' $d/config)"
    echo "pci $a irq $(cat $d/irq) driver $(readlink $d/driver | sed 's/.*\///')"
    n=0; while read r; do echo "pci $a resource $n $r"; n=$((n + 1)); done < $d/resource
done
cat /proc/interrupts | sed 's/^/interrupts /'
cat /proc/ioports | sed 's/^/ioports /'
cat /proc/iomem | grep -v Kernel | sed 's/^/iomem /'
for d in /sys/bus/acpi/devices/*; do echo "acpi $(cat $d/path 2>/dev/null) $(cat $d/hid 2>/dev/null)"; done
for t in /sys/firmware/acpi/tables/*; do [ -f $t ] && echo "table ${t##*/}"; done
for f in /sys/class/dmi/id/sys_vendor /sys/class/dmi/id/product_name /sys/class/dmi/id/bios_vendor; do echo "dmi ${f##*/} $(cat $f)"; done
echo "clocksource $(cat /sys/devices/system/clocksource/clocksource0/available_clocksource)"
echo "clocksource now $(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"
echo "clockevent $(cat /sys/devices/system/clockevents/clockevent0/current_device)"
dmesg | sed 's/^\[[^]]*\] /log /'
"""


def rows(full):
    """(name, (machine, smp, device options))."""
    r = [("pc", ("pc", 1, "")), ("q35", ("q35", 1, ""))]
    if full:
        r += [("pc/smp 2", ("pc", 2, "")), ("q35/smp 4", ("q35", 4, "")), ("pc/legacy", ("pc", 1, "disable-modern=on")),
              ("q35/modern", ("q35", 1, "disable-legacy=on")), ("pc/INTx", ("pc", 1, "vectors=0")), ("q35/INTx", ("q35", 1, "vectors=0"))]
    return r


def transcript(binary, machine, smp, props, timeout=180):
    kernel = images.Kernel()
    p = f",{props}" if props else ""
    disk = images.rootfs()
    # No system management mode in ours: QEMU without it shows the same chipset registers.
    args = ["-accel", "tcg", "-M", machine + ",smm=off" + (",sata=off" if machine == "q35" else ""), "-m", "512", "-smp", str(smp),
            "-kernel", kernel.image, "-initrd", images.initramfs(kernel, PROBE), "-append", "console=ttyS0 panic=-1", "-no-reboot",
            "-drive", f"if=none,id=d0,file={disk},format=raw,snapshot=off,readonly=on", "-device", f"virtio-blk-pci,drive=d0{p}",
            "-netdev", "user,id=n0", "-device", f"virtio-net-pci,netdev=n0,romfile={p}", "-device", f"virtio-serial-pci{p}",
            "-device", f"virtio-rng-pci{p}"]
    with Guest(binary, args, qmp=False) as g:
        g.expect("VIRTUE-DONE", timeout)
        text = g.text.replace("\r", "")
        g.send("poweroff -f\n")
        g.wait(30)
    return text


def undisturbed(binary, *row):
    """A transcript; a second one when the kernel itself says that the host took the CPU away while it measured clocks."""
    text = transcript(binary, *row)
    return transcript(binary, *row) if re.search("8254 timer not connected|PIT calibration deviates|Unable to calibrate against PIT", text) else text


def functions(text):
    left_out = ("00:01.1", "00:1f.2")
    r = {}
    for m in re.finditer(r"^pci (\S+) (config|irq|resource \d+) (.*)$", text, re.M):
        if m[1] not in left_out:
            r[f"{m[1]} {m[2]}"] = m[3]
    return r


def interrupts(text):
    """Rows of /proc/interrupts without counts: number, chip, name. IDE's and AHCI's are left out; so is what depends on time."""
    r = set()
    for m in re.finditer(r"^interrupts +(\w+):((?: +\d+)+) +(\S.*)$", text, re.M):
        if "ata_piix" in m[3] or "ahci" in m[3]:
            continue
        fired = sum(map(int, m[2].split())) > 0
        if m[1].isdigit():
            r.add(f"{m[1]}: {re.sub(' +', ' ', m[3])}")
        elif m[1] in ("NMI", "SPU", "ERR", "MIS", "MCE", "THR", "DFR", "TRM", "IWI", "PIN", "PIW", "NPI"):
            r.add(f"{m[1]}: {'fired' if fired else 'never'}")
    for m in re.finditer(r"^interrupts (ERR|MIS): +(\d+)$", text, re.M):
        r.add(f"{m[1]}: {m[2]}")
    return r


# Not there yet: IDE, AHCI, the floppy controller, CPU hot-plug. Not the machine's: what QEMU's boot ROM leaves (video ROM, cga),
# the end of RAM that each firmware keeps for its tables.
LEFT_OUT = re.compile(r"ata_piix|ahci|0000:00:01\.1|0000:00:1f\.2|: cga$|Video ROM|-1ffd\w+ : System RAM|1ff\w+-1fffffff : Reserved"
                      r"|PCI0\.S09_|\.FDC0|PCI0\.PRES")


def lines(text, *kinds):
    """Lines of the other kinds."""
    out = set()
    for l in text.splitlines():
        kind, _, rest = l.partition(" ")
        if kind in kinds and not LEFT_OUT.search(rest):
            out.add(f"{kind} {re.sub(r'  +', ' ', rest)}")
    return out


def clock_log(text):
    """What the kernel says about the TSC, without numbers; the drift of a loaded host's calibration is left out, and so is that
    the quick calibration succeeded: whether it does depends on how fast port I/O is at that moment, on QEMU too."""
    r = set()
    for m in re.finditer(r"^log (.*(?:tsc|TSC).*)$", text, re.M):
        if "max_cycles" not in m[1] and "Fast TSC calibration using PIT" not in m[1]:
            r.add(re.sub(r"\d+", "N", m[1]))
    return r


def difference(ours, theirs):
    a, b = functions(ours), functions(theirs)
    for k in sorted(set(a) | set(b)):
        if a.get(k) != b.get(k):
            yield f"{k}\n  ours      {a.get(k)}\n  QEMU 10.0 {b.get(k)}"
    for name, fn in (("interrupts", interrupts), ("ports", lambda t: lines(t, "ioports")), ("memory", lambda t: lines(t, "iomem")),
                     ("ACPI", lambda t: lines(t, "acpi", "table")), ("clocks", lambda t: lines(t, "clocksource", "clockevent")), ("log", clock_log)):
        x, y = fn(ours), fn(theirs)
        for l in sorted(x - y):
            yield f"{name}, only ours: {l}"
        for l in sorted(y - x if name != "log" else ()):
            yield f"{name}, only QEMU 10.0: {l}"


def check(binary, machine, smp, props):
    try:
        oracle = os.environ.get("VIRTUE_ORACLE") or packages.qemu10()
    except Exception as e:
        raise Skip(f"no QEMU 10.0 to compare with: {e}") from e
    for _ in range(3):
        ours, theirs = undisturbed(binary, machine, smp, props), undisturbed(oracle, machine, smp, props)
        diff = list(difference(ours, theirs))
        # What a kernel thinks of its clocks depends on the host's load too, on either side: that alone is looked at again.
        if not diff or not all(re.match("(log|clocks), ", d) for d in diff):
            break
        print(f"# {len(diff)} differences in clocks: " + "; ".join(diff), flush=True)
    if os.environ.get("VIRTUE_KEEP"):
        for name, text in (("ours", ours), ("theirs", theirs)):
            with open(f"{os.environ['VIRTUE_KEEP']}/{machine}-{name}", "w", encoding="utf-8") as f:
                f.write(text)
    if len(functions(ours)) < 40:
        diff.append(f"only {len(functions(ours))} facts about PCI functions")
    if diff:
        raise AssertionError(f"{len(diff)} differences\n" + "\n".join(diff[:40]))
    return f"{len(functions(ours))} facts about PCI functions"


if __name__ == "__main__":
    print(check(os.path.abspath(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4] if len(sys.argv) > 4 else ""))
