"""virtio-scsi and virtio-balloon with Linux's drivers: disks on three units, a CD whose medium changes, units that come and go; memory that
leaves the emulator and comes back."""
import os
import re
import tempfile
import time

import images
from guest import Guest

MODULES = [*images.MODULES, "virtio_scsi", "sd_mod", "sr_mod", "virtio_balloon"]
MB = 1 << 20


def guest(binary, machine, args, memory=256):
    kernel = images.Kernel()
    return Guest(binary, ["-accel", "tcg", "-M", machine, "-m", str(memory), "-smp", "2", "-kernel", kernel.image, "-initrd",
                          images.initramfs(kernel, modules=MODULES), "-append", "console=ttyS0 quiet panic=-1", "-no-reboot", *args])


def ready(g):
    g.expect("VIRTUE-DONE", 120)
    g.expect("# ", 30)


def scsi(binary, machine, device=""):
    with tempfile.TemporaryDirectory(prefix="virtue-scsi-") as d:
        args = ["-object", "iothread,id=t", "-device", f"virtio-scsi-pci,id=s{device}"]
        for i, place in enumerate(("scsi-id=0,lun=0", "scsi-id=0,lun=1", "scsi-id=5,lun=300")):
            with open(f"{d}/d{i}", "wb") as f:
                f.truncate(32 * MB)
            args += ["-drive", f"if=none,id=d{i},file={d}/d{i},format=raw,discard=unmap", "-device", f"scsi-hd,bus=s.0,drive=d{i},{place},serial=disk{i}"]
        for name in "ab":
            with open(f"{d}/{name}.iso", "wb") as f:
                f.write(os.urandom(MB))
        args += ["-drive", f"if=none,id=c,file={d}/a.iso,format=raw,readonly=on", "-device", "scsi-cd,id=cd,bus=s.0,drive=c,scsi-id=7"]
        with guest(binary, machine, args) as g:
            ready(g)
            rc, out = g.shell("ls /sys/class/scsi_device; ls -d /sys/block/sd? | wc -l", 30)
            yield "three disks and a CD", "\n3" in out.replace("\r", "") and len(re.findall(r"\d:\d:\d:\d+", out)) == 4, out
            script = ("for n in a b c; do dd if=/dev/urandom of=/tmp/x bs=64k count=48 2>/dev/null; dd if=/tmp/x of=/dev/sd$n bs=64k conv=fsync "
                      "2>/dev/null; echo 1 > /proc/sys/vm/drop_caches; dd if=/dev/sd$n bs=64k count=48 2>/dev/null | cmp - /tmp/x && echo same-$n; done")
            rc, out = g.shell(script, 120)
            yield "data on each", all(f"same-{n}" in out for n in "abc"), out
            rc, out = g.shell("blkdiscard /dev/sdb && dd if=/dev/sdb bs=64k count=1 2>/dev/null | tr -d '\\0' | wc -c", 60)
            yield "discard", rc == 0 and re.search(r"^0\s*$", out, re.M) is not None, out
            for name in "ab":
                want = images.run(["sha256sum", f"{d}/{name}.iso"]).split()[0]
                rc, out = g.shell("sha256sum /dev/sr0", 60)
                yield f"medium {name}", want in out, out
                g.qmp("blockdev-change-medium", id="cd", filename=f"{d}/b.iso", format="raw")
            # Traffic on two units, each pass compared, while a third one comes and goes; at last it goes in the middle of its own.
            g.shell("for n in a c; do (while [ ! -e /tmp/stop ]; do dd if=/tmp/x of=/dev/sd$n bs=64k conv=fsync 2>/dev/null; "
                    "echo 1 > /proc/sys/vm/drop_caches; dd if=/dev/sd$n bs=64k count=48 2>/dev/null | cmp - /tmp/x || touch /tmp/bad; "
                    "echo >> /tmp/passes-$n; done) & done", 30)
            g.qmp("blockdev-add", driver="null-co", **{"node-name": "n", "size": 64 * MB, "read-zeroes": True})
            for i in range(3):
                g.qmp("device_add", driver="scsi-hd", drive="n", bus="s.0", id="x", **{"scsi-id": 5, "lun": 2})
                rc, out = g.shell("for i in 1 2 3 4 5 6 7 8 9; do [ -e /sys/block/sdd ] && break; sleep 1; done; cat /sys/block/sdd/size", 60)
                yield f"a unit comes ({i})", str(64 * MB // 512) in out, out
                g.qmp("device_del", id="x")
                rc, out = g.shell("for i in 1 2 3 4 5 6 7 8 9; do [ -e /sys/block/sdd ] || break; sleep 1; done; ls /sys/block", 60)
                yield f"and goes ({i})", re.search(r"^[^\n]*sdc  sr0", out, re.M) is not None, out
            g.qmp("device_add", driver="scsi-hd", drive="n", bus="s.0", id="x", **{"scsi-id": 5, "lun": 2})
            g.shell("for i in 1 2 3 4 5 6 7 8 9; do [ -e /sys/block/sdd ] && break; sleep 1; done; "
                    "(while dd if=/dev/sdd of=/dev/null bs=64k; do echo 1 > /proc/sys/vm/drop_caches; touch /tmp/read; done) 2>/dev/null & "
                    "r=$!; dmesg -n 1; while [ ! -e /tmp/read ]; do sleep 0.1; done; dmesg -c > /tmp/log", 60)
            g.qmp("device_del", id="x")
            rc, out = g.shell("wait $r; dmesg -c > /tmp/away; grep -cE 'BUG|WARNING|Oops|hung|timing out' /tmp/away; ls /sys/block", 60)
            yield "a unit goes while it is read", re.search(r"^0\r?\n[^\n]*sdc  sr0", out, re.M) is not None, out
            rc, out = g.shell("touch /tmp/stop; wait; ls /tmp/bad; cat /tmp/passes-a | wc -l; cat /tmp/passes-c | wc -l", 60)
            passes = [int(n) for n in re.findall(r"^(\d+)\r?$", out, re.M)]
            yield "the others' data is whole all the while", "No such file" in out and len(passes) == 2 and min(passes) > 2, out
            g.qmp("block_resize", device="d0", size=48 * MB)
            rc, out = g.shell("for i in 1 2 3 4 5 6 7 8 9; do grep -q 98304 /sys/block/sd?/size && break; sleep 1; done; cat /sys/block/sd?/size", 60)
            yield "a disk grows", "98304" in out, out
            rc, out = g.shell("(cat /tmp/log; dmesg) | grep -E 'BUG|WARNING|Oops|hung|I/O error|timing out'", 30)
            yield "no complaint", rc != 0, out
            g.send("poweroff -f\n")
            yield "end", g.wait() == 0, g.tail()


def rss(g):
    with open(f"/proc/{g.p.pid}/smaps_rollup", encoding="utf-8") as f:
        return int(re.search(r"^Rss:\s+(\d+)", f.read(), re.M)[1]) * 1024


def until(g, fn, seconds=60):
    end = time.monotonic() + seconds
    while not fn() and time.monotonic() < end:
        g.shell("sleep 1", 30)
    return fn()


def balloon(binary, machine, backend, options=""):
    args, d = ["-device", f"virtio-balloon-pci,id=b{options}"], tempfile.TemporaryDirectory(prefix="virtue-balloon-")
    if backend:
        backend = backend.replace("DIR", d.name)
        args += ["-object", f"{backend},id=m,size=512M", "-machine", "memory-backend=m"]
    with d, guest(binary, machine, args, 512) as g:
        ready(g)
        touch = "mount -t tmpfs -o size=400m none /mnt 2>/dev/null || (mkdir -p /mnt; mount -t tmpfs -o size=400m none /mnt); dd if=/dev/zero of=/mnt/x bs=1M count=330 2>/dev/null"
        g.shell(touch, 240)
        full = rss(g)
        yield "memory that was touched is there", full > 400 * MB, full
        rc, out = g.shell("rm /mnt/x; echo 1 > /proc/sys/vm/drop_caches; free -m", 60)
        if "reporting" in options:
            ok = until(g, lambda: rss(g) < full - 200 * MB, 120)
            yield "free pages are reported", ok, (full // MB, rss(g) // MB)
            return
        g.qmp("balloon", value=256 * MB)
        ok = until(g, lambda: g.qmp("query-balloon")["actual"] == 256 * MB)
        yield "the guest gives 256 MB", ok, g.qmp("query-balloon")
        yield "which leave the emulator", rss(g) < full - 200 * MB, (full // MB, rss(g) // MB)
        g.qmp("qom-set", path="/machine/peripheral/b", property="guest-stats-polling-interval", value=1)
        ok = until(g, lambda: g.qmp("qom-get", path="/machine/peripheral/b", property="guest-stats")["last-update"] != 0)
        stats = g.qmp("qom-get", path="/machine/peripheral/b", property="guest-stats")["stats"]
        yield "statistics", ok and 100 * MB < stats["stat-total-memory"] < 512 * MB, stats
        if "oom" in options:
            rc, out = g.shell("dd if=/dev/zero of=/mnt/z bs=1M count=240 2>&1 | tail -1; stat -c %s /mnt/z; dmesg | grep -c 'Out of memory'", 240)
            yield "memory comes back before anybody is killed", re.findall(r"^(\d+)\r?$", out, re.M) == [str(240 * MB), "0"], out
            yield "by itself", g.qmp("query-balloon")["actual"] > 256 * MB, g.qmp("query-balloon")
            g.shell("rm /mnt/z", 60)
        g.qmp("balloon", value=512 * MB)
        ok = until(g, lambda: g.qmp("query-balloon")["actual"] == 512 * MB)
        yield "and takes them again", ok, g.qmp("query-balloon")
        rc, out = g.shell("dd if=/dev/zero of=/mnt/x bs=1M count=280 2>/dev/null; dd if=/dev/urandom of=/mnt/y bs=1M count=16 2>/dev/null; "
                          "md5sum < /mnt/y; md5sum < /mnt/y", 240)
        sums = re.findall(r"[0-9a-f]{32}", out)
        yield "to use them", len(sums) == 2 and sums[0] == sums[1] and rss(g) > 350 * MB, (out, rss(g) // MB)
        rc, out = g.shell("dmesg | grep -E 'BUG|WARNING|Oops|hung'", 30)
        yield "no complaint", rc != 0, out


TESTS = {
    "scsi": lambda b: scsi(b, "q35", ",iothread=t"),
    "balloon": lambda b: balloon(b, "pc", "memory-backend-memfd"),
}
FULL = {
    "scsi pc packed": lambda b: scsi(b, "pc", ",packed=on,num_queues=1"), "scsi legacy": lambda b: scsi(b, "pc", ",disable-modern=on"),
    "balloon anonymous": lambda b: balloon(b, "q35", None), "balloon out of memory": lambda b: balloon(b, "q35", "memory-backend-ram", ",deflate-on-oom=on"),
    "balloon file": lambda b: balloon(b, "q35", "memory-backend-file,share=on,mem-path=DIR/ram", ",packed=on"), "balloon reporting": lambda b: balloon(b, "q35", None, ",free-page-reporting=on"),
}
