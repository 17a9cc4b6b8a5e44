"""What a Debian kernel is told about its machine: SMBIOS fields, the UUID, fw_cfg items of the user's."""
import os
import tempfile

import images
from guest import Guest

UUID = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"
DEFAULTS = {"pc": ("pc-i440fx-10.0", "Standard PC (i440FX + PIIX, 1996)"), "q35": ("pc-q35-10.0", "Standard PC (Q35 + ICH9, 2009)")}


def boot(binary, machine, extra):
    kernel = images.Kernel()
    return Guest(binary, ["-accel", "tcg", "-M", machine, "-m", "256", "-kernel", kernel.image, "-initrd",
                          images.initramfs(kernel, modules=["qemu_fw_cfg"]), "-append", "console=ttyS0 quiet panic=-1", *extra])


def fields(g):
    """The files of /sys/class/dmi/id by name."""
    rc, out = g.shell("cd /sys/class/dmi/id; for f in *; do [ -f $f ] && echo \"DMI:$f:$(cat $f)\"; done; cd /")
    return {l.split(":", 2)[1]: l.split(":", 2)[2] for l in out.replace("\r", "").splitlines() if l.startswith("DMI:") and rc == 0}


def told(binary):
    blob = os.urandom(3000)
    with tempfile.TemporaryDirectory(prefix="virtue-identity-") as d:
        with open(f"{d}/blob", "wb") as f:
            f.write(blob)
        with boot(binary, "q35", [
                "-object", "memory-backend-memfd,id=mem,size=256M,", "-numa", "node,memdev=mem",  # RAM that others can map
                "-uuid", UUID, "-name", "guest=a-name",
                "-smbios", "type=0,vendor=A Vendor,version=1.2.3,date=01/02/2033,release=4.5",
                "-smbios", "type=1,manufacturer=The Maker,product=A Product,version=v9,serial=S-1,sku=SKU7,family=Kin",
                "-smbios", "type=2,manufacturer=Boarder,product=Plank,version=b2,serial=B-2,asset=bA",
                "-smbios", "type=3,manufacturer=Caser,version=c3,serial=C-3,asset=cA",
                "-fw_cfg", "name=opt/org.example/text,string=good morning", "-fw_cfg", f"name=opt/org.example/blob,file={d}/blob"]) as g:
            g.expect("VIRTUE-DONE", 120)
            g.expect("# ", 30)
            got = fields(g)
            want = {"bios_vendor": "A Vendor", "bios_version": "1.2.3", "bios_date": "01/02/2033", "bios_release": "4.5",
                    "sys_vendor": "The Maker", "product_name": "A Product", "product_version": "v9", "product_serial": "S-1",
                    "product_sku": "SKU7", "product_family": "Kin", "product_uuid": UUID, "board_vendor": "Boarder", "board_name": "Plank",
                    "board_version": "b2", "board_serial": "B-2", "board_asset_tag": "bA", "chassis_vendor": "Caser",
                    "chassis_version": "c3", "chassis_serial": "C-3", "chassis_asset_tag": "cA", "chassis_type": "1"}
            yield "SMBIOS: the fields of types 0 to 3", {k: got.get(k) for k in want} == want, (got, want)
            rc, out = g.shell("cat /sys/firmware/qemu_fw_cfg/rev; cd /sys/firmware/qemu_fw_cfg/by_name/opt/org.example; cat text/raw; echo; "
                              "cat text/size; hexdump -v -e '1/1 \"%02x\"' blob/raw; echo; cd /")
            lines = out.replace("\r", "").splitlines()
            yield "fw_cfg: a text and a file", rc == 0 and {"good morning", "12", blob.hex()} <= set(lines), out
            yield "fw_cfg: revision 3, with DMA", "3" in lines, out
            yield "QMP: name and UUID", (g.qmp("query-name"), g.qmp("query-uuid")) == ({"name": "a-name"}, {"UUID": UUID}), ""


def defaults(binary):
    for machine, (version, product) in DEFAULTS.items():
        with boot(binary, machine, []) as g:
            g.expect("VIRTUE-DONE", 120)
            g.expect("# ", 30)
            got = fields(g)
            want = {"sys_vendor": "QEMU", "product_name": product, "product_version": version, "chassis_vendor": "QEMU",
                    "chassis_version": version, "chassis_type": "1"}
            yield f"SMBIOS: defaults of {machine}", {k: got.get(k) for k in want} == want, (got, want)


TESTS = {"told": told}
FULL = {"defaults": defaults}
