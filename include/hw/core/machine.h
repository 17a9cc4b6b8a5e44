/* The machine: class, compat lists, RAM, CPUs, address spaces. One per process, made by
 * system/main.c. */
#pragma once

#include "accel/accel.h"
#include "hw/core/dev.h"
#include "memory/dma.h"
#include "memory/ram.h"
#include "system/runstate.h"

/* Version differences: applied to new objects before -global and the user's settings. class may be
 * a parent's name. */
typedef struct CompatProp {
    const char *cls, *prop, *value;
} CompatProp;

typedef struct MachineClass {
    const char *name;  /* "pc-i440fx-10.0" */
    const char *alias; /* "pc" */
    const char *desc;
    const char *family;
    const char *default_vga; /* -vga's default; NULL: the machine does not know that option */
    bool is_default, deprecated;
    unsigned max_cpus, default_cpus;
    uint64_t default_ram;
    const char *default_ram_id; /* "pc.ram" */
    const char *default_cpu;    /* "qemu64"; NULL: none machine */
    const char *default_nic;    /* model of -nic without one; NULL: virtio-net-pci */
    /* lists, newest first, NULL-terminated; each ends with { NULL } */
    const CompatProp *const *compat;
    size_t size;
    /* -machine options of this class, offsets into its struct; the common ones are machine_props */
    const PropSpec *props;
    /* builds chipset and buses; RAM, CPUs' models and options are ready */
    bool (*init)(Machine *m, GError **err);
    /* after all -device: firmware tables, boot order, kernel; NULL: none */
    bool (*ready)(Machine *m, GError **err);
    void (*reset)(Machine *m); /* instead of the default order; NULL: machine_reset_default */
    const void *data;          /* the board's own constants */
    bool acpi;                 /* query-machines */
    bool hotpluggable_cpus;
} MachineClass;
extern const MachineClass *const machine_classes[]; /* hw/type-table.c; NULL-terminated */
/* accel, mem-merge, dump-guest-core, usb, graphics, firmware, kernel … */
extern const PropSpec machine_props[];

typedef struct SmpSpec {
    unsigned cpus, maxcpus, sockets, dies, clusters, cores, threads;
} SmpSpec;
typedef struct DeviceGlobal {
    char *driver, *prop, *value;
    bool used;
} DeviceGlobal;

struct Machine {
    Obj obj; /* "/machine" */
    const MachineClass *mc;
    Obj *root;                                                /* "/" */
    Obj *peripheral, *peripheral_anon, *unattached, *objects; /* containers; objects is /objects */
    Region mem_root, io_root;                                 /* system memory and port space */
    AddrSpace *mem, *io;
    RamBlock *ram;              /* all of it; boards map pieces */
    bool ram_own, ram_prealloc; /* ram is no memory back end's */
    uint64_t ram_size;
    SmpSpec smp;
    GPtrArray *cpus; /* VCpu* */
    Accel *accel;
    RunState *run;
    const X86CpuModel *cpu_model;
    char *cpu_text;         /* "qemu64,+x" */
    char *name, *uuid_text; /* -name, -uuid */
    uint8_t uuid[16];
    bool has_uuid;
    GPtrArray *buses;   /* Bus*: every bus there is, creation order */
    GPtrArray *globals; /* DeviceGlobal* */
    /* Boot and firmware options, filled by system/. */
    char *kernel, *initrd, *append, *dtb, *firmware, *boot_order, *boot_once;
    bool boot_menu, boot_strict;
    int boot_splash_time, boot_reboot_timeout;
    GPtrArray *fw_cfg_entries; /* Json objects of -fw_cfg */
    GPtrArray *smbios_entries; /* Json objects of -smbios */
    GPtrArray *data_dirs;      /* char*: -L, then the built-in ones */
    bool no_reboot, no_shutdown, nodefaults, nographic, no_hpet, no_acpi;
    GPtrArray *serials; /* Chardev* or NULL: -serial in order */
    Chardev *debugcon;
    int rtc_base_utc;      /* see system/: -rtc */
    int64_t rtc_offset_ns; /* guest wall clock minus host's */
    bool rtc_clock_vm;
    bool acpi;           /* -machine acpi=, -no-acpi */
    bool wakes_up;       /* the board suspends to RAM and wakes up again: query-current-machine */
    bool migrate_events; /* migrate-set-capabilities */
    char *memory_backend, *memory_encryption;
    bool mem_merge, dump_guest_core, usb, graphics;
    char *accel_text;  /* -machine accel=, "kvm:tcg" */
    Json *kvm_options; /* of -machine, for the kvm accelerator; NULL: none */
    /* machine.c's */
    ObjClass *oc; /* "<name>-machine" */
    GPtrArray *reset_hooks;
    GPtrArray *roms; /* loader.c's; NULL: none */
};

Machine *machine_new(const MachineClass *mc);
const MachineClass *machine_class_find(const char *name); /* names and aliases */
bool machine_set_options(Machine *m, const Json *args, GError **err);
void machine_apply_compat(Machine *m, Obj *o); /* compat lists, then -global */
/* pauses vCPUs, resets in house order, emits RESET */
void machine_reset(Machine *m, const char *reason, bool guest);
void machine_free(Machine *m);
/* Devices, interrupt chips and the memory map, then hooks (A20 …), then vCPUs: what
 * MachineClass.reset may build on. */
void machine_reset_default(Machine *m);
/* fn runs at each machine reset behind all objects and before the vCPUs. */
void machine_on_reset(Machine *m, LoopFn *fn, void *opaque);
/* As machine_apply_compat(), for objects a user asked for: a -global that does not fit is an error.
 */
bool machine_apply_defaults(Machine *m, Obj *o, GError **err);
Machine *machine_from_obj(const Obj *o); /* NULL: o is not the machine */
/* -global: warns of those that no class or object took. After all devices exist. */
void machine_check_globals(const Machine *m);
/* A firmware file by name through -L, the built-in data folders and plain paths; g_free. NULL: not
 * there. */
char *machine_find_file(const Machine *m, const char *name);
/*
 * Resets what lies under o: a bus's devices, a device and the buses it provides, or all of the
 * machine. What sits on a bus goes first, then its provider; interrupt chips after the devices that
 * drive them; the memory map is published once, at the end.
 */
void reset_tree(Obj *o);
