/*
 * -accel kvm: opening the device, what the kernel can do, the VM (KVM API, 2 and 4.1). Tests:
 * tests/system/test_kvm.py, tests/unit/test-accel.c
 */
#include "hw/core/machine.h"
#include "kvm-internal.h"
#include "util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

/* Room for real mode on hosts that need it, below the firmware: KVM API, KVM_SET_TSS_ADDR. */
enum { IDENTITY_AT = 0xfeffc000, TSS_AT = IDENTITY_AT + 0x1000, RESERVED_SIZE = 0x4000 };
enum { IRQCHIP_ON, IRQCHIP_OFF, IRQCHIP_SPLIT };

static const char *const irqchip_values[] = { "on", "off", "split", NULL };
static PROP_ENUM_TYPE(prop_irqchip, "on|off|split", irqchip_values);

/* clang-format off */
static const PropSpec kvm_props[] = {
    PROP_ENUM("kernel-irqchip", KvmAccel, irqchip_prop, prop_irqchip, IRQCHIP_ON,
        "interrupt controllers in the kernel: on, off, split (local APICs only)"),
    PROP_U64("kvm-shadow-mem", KvmAccel, shadow_mem, 0, "bytes of shadow page tables"),
    PROP_U64("dirty-ring-size", KvmAccel, dirty_ring, 0, "entries of each vCPU's ring of written pages; 0: bitmaps"),
    PROP_U32("x-gsi-routes", KvmAccel, max_routes, 0, "at most so many interrupt routes; 0: as many as the kernel has"),
    PROP_STR("device", KvmAccel, device, "device node of KVM, /dev/kvm if not given"),
    PROP_END,
};
/* clang-format on */

int kvm_ioctl(int fd, unsigned long request, void *arg)
{
    int ret;

    do {
        ret = ioctl(fd, request, arg);
    } while (ret < 0 && errno == EINTR);
    return ret;
}

void kvm_must(int ret, const char *what)
{
    if (ret < 0) {
        g_error("%s: %s", what, g_strerror(errno)); /* the host took back what it granted */
    }
}

int kvm_cap(const KvmAccel *ka, int cap)
{
    int ret = kvm_ioctl(
        ka->vm_fd >= 0 ? ka->vm_fd : ka->kvm_fd, KVM_CHECK_EXTENSION, (void *)(uintptr_t)cap);

    return MAX(ret, 0);
}

/* Who may: the group of the device node, when it is one that may and we are not in it. */
static void hint_group(const char *device, GError **err)
{
    struct stat st;
    const struct group *g;

    if (stat(device, &st) < 0 || !(st.st_mode & S_IRGRP) || !(st.st_mode & S_IWGRP)) {
        return;
    }
    g = getgrgid(st.st_gid);
    if (g) {
        err_hint(err, "%s is for members of the group '%s'", device, g->gr_name);
    } else {
        err_hint(err, "%s is for members of the group %u", device, (unsigned)st.st_gid);
    }
}

static bool open_device(KvmAccel *ka, GError **err)
{
    const char *device = ka->device ? ka->device : "/dev/kvm";
    int version;

    ka->kvm_fd = open(device, O_RDWR | O_CLOEXEC);
    if (ka->kvm_fd < 0) {
        int why = errno;

        err_set_errno(err, "Could not access KVM kernel module");
        if (why == EACCES || why == EPERM) {
            hint_group(device, err);
        }
        errno = why; /* the caller says it too */
        return false;
    }
    version = kvm_ioctl(ka->kvm_fd, KVM_GET_API_VERSION, NULL);
    if (version < 0) {
        return err_set(err, "kvm version too old");
    }
    if (version != KVM_API_VERSION) {
        return err_set(err, "kvm version %d not supported, %d is", version, KVM_API_VERSION);
    }
    return true;
}

static bool need(const KvmAccel *ka, int cap, const char *name, GError **err)
{
    return kvm_cap(ka, cap) ||
           err_set(err, "the host's KVM lacks %s, which this program needs", name);
}

static bool check_caps(KvmAccel *ka, GError **err)
{
    KvmCaps *c = &ka->caps;

    if (!need(ka, KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY", err) ||
        !need(
            ka, KVM_CAP_DESTROY_MEMORY_REGION_WORKS, "KVM_CAP_DESTROY_MEMORY_REGION_WORKS", err) ||
        !need(ka, KVM_CAP_JOIN_MEMORY_REGIONS_WORKS, "KVM_CAP_JOIN_MEMORY_REGIONS_WORKS", err) ||
        !need(ka, KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID", err) ||
        !need(ka, KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT", err) ||
        !need(ka, KVM_CAP_VCPU_EVENTS, "KVM_CAP_VCPU_EVENTS", err)) {
        return false;
    }
    c->slots = (unsigned)kvm_cap(ka, KVM_CAP_NR_MEMSLOTS);
    c->slots = c->slots ? c->slots : 32;
    c->routes = (unsigned)kvm_cap(ka, KVM_CAP_IRQ_ROUTING);
    if (ka->max_routes && ka->max_routes < c->routes) {
        c->routes = MAX(ka->max_routes, KVM_GSI_PINS);
    }
    c->readonly_mem = kvm_cap(ka, KVM_CAP_READONLY_MEM);
    c->ioeventfd_any = kvm_cap(ka, KVM_CAP_IOEVENTFD_ANY_LENGTH);
    c->irqfd = kvm_cap(ka, KVM_CAP_IRQFD) && c->routes;
    c->resample = kvm_cap(ka, KVM_CAP_IRQFD_RESAMPLE);
    c->signal_msi = kvm_cap(ka, KVM_CAP_SIGNAL_MSI);
    c->xsave = kvm_cap(ka, KVM_CAP_XSAVE);
    c->xcrs = kvm_cap(ka, KVM_CAP_XCRS);
    c->debugregs = kvm_cap(ka, KVM_CAP_DEBUGREGS);
    c->adjust_clock = kvm_cap(ka, KVM_CAP_ADJUST_CLOCK);
    c->clock_ctrl = kvm_cap(ka, KVM_CAP_KVMCLOCK_CTRL);
    c->coalesced_page = (unsigned)kvm_cap(ka, KVM_CAP_COALESCED_MMIO);
    c->coalesced_pio = kvm_cap(ka, KVM_CAP_COALESCED_PIO);
    c->tsc_deadline = kvm_cap(ka, KVM_CAP_TSC_DEADLINE_TIMER);
    c->dirty_ring_cap = KVM_CAP_DIRTY_LOG_RING_ACQ_REL;
    c->dirty_ring_max = (unsigned)kvm_cap(ka, KVM_CAP_DIRTY_LOG_RING_ACQ_REL);
    if (!c->dirty_ring_max) {
        c->dirty_ring_cap = KVM_CAP_DIRTY_LOG_RING;
        c->dirty_ring_max = (unsigned)kvm_cap(ka, KVM_CAP_DIRTY_LOG_RING);
    }
    return true;
}

static bool check_cpus(const KvmAccel *ka, const Machine *m, GError **err)
{
    int max = kvm_cap(ka, KVM_CAP_MAX_VCPUS), soft = kvm_cap(ka, KVM_CAP_NR_VCPUS);

    max = max ? max : soft ? soft : 4; /* KVM API, KVM_CREATE_VCPU: what a missing answer means */
    if ((int)m->smp.cpus > max) {
        return err_set(err,
            "Number of SMP cpus requested (%u) exceeds the maximum cpus supported by KVM (%d)",
            m->smp.cpus, max);
    }
    if (soft && (int)m->smp.cpus > soft) {
        report_warning("Number of SMP cpus requested (%u) exceeds the recommended cpus supported "
                       "by KVM (%d)",
            m->smp.cpus, soft);
    }
    return true;
}

static bool create_vm(KvmAccel *ka, GError **err)
{
    uint64_t identity = IDENTITY_AT;

    ka->vm_fd = kvm_ioctl(ka->kvm_fd, KVM_CREATE_VM, NULL);
    if (ka->vm_fd < 0) {
        return err_set_errno(err, "the host's KVM makes no VM");
    }
    if (kvm_cap(ka, KVM_CAP_SET_IDENTITY_MAP_ADDR) &&
        kvm_ioctl(ka->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0) {
        return err_set_errno(err, "KVM_SET_IDENTITY_MAP_ADDR");
    }
    if (kvm_cap(ka, KVM_CAP_SET_TSS_ADDR) &&
        kvm_ioctl(ka->vm_fd, KVM_SET_TSS_ADDR, (void *)(uintptr_t)TSS_AT) < 0) {
        return err_set_errno(err, "KVM_SET_TSS_ADDR");
    }
    if (ka->shadow_mem && kvm_ioctl(ka->vm_fd, KVM_SET_NR_MMU_PAGES,
                              (void *)(uintptr_t)MAX(ka->shadow_mem / 4096, 1)) < 0) {
        return err_set_errno(err, "kvm-shadow-mem=%" G_GUINT64_FORMAT, ka->shadow_mem);
    }
    return true;
}

/* Before the first vCPU: KVM API, KVM_CAP_DIRTY_LOG_RING. */
static bool enable_ring(KvmAccel *ka, GError **err)
{
    uint64_t bytes = ka->dirty_ring * sizeof(struct kvm_dirty_gfn);
    struct kvm_enable_cap on = { .cap = (uint32_t)ka->caps.dirty_ring_cap, .args = { bytes } };

    if (!ka->dirty_ring) {
        return true;
    }
    if (ka->dirty_ring & (ka->dirty_ring - 1)) {
        return err_set(err, "dirty-ring-size must be a power of two.");
    }
    if (!ka->caps.dirty_ring_max) {
        report_warning("the host's KVM has no dirty rings: bitmaps are used");
        ka->dirty_ring = 0;
        return true;
    }
    if (ka->dirty_ring > ka->caps.dirty_ring_max / sizeof(struct kvm_dirty_gfn)) {
        return err_set(err, "KVM dirty ring size %" G_GUINT64_FORMAT " too big (maximum is %zu)",
            ka->dirty_ring, ka->caps.dirty_ring_max / sizeof(struct kvm_dirty_gfn));
    }
    if (kvm_ioctl(ka->vm_fd, KVM_ENABLE_CAP, &on) < 0) {
        return err_set_errno(
            err, "Enabling of KVM dirty ring of %" G_GUINT64_FORMAT " entries", ka->dirty_ring);
    }
    return true;
}

static bool kvm_init(Accel *a, struct Machine *m, GError **err)
{
    static const AccelIrqchip modes[] = { [IRQCHIP_ON] = ACCEL_IRQCHIP_KERNEL,
        [IRQCHIP_OFF] = ACCEL_IRQCHIP_SOFT,
        [IRQCHIP_SPLIT] = ACCEL_IRQCHIP_SPLIT };
    KvmAccel *ka = kvm_of(a);
    int size;

    ka->kvm_fd = ka->vm_fd = -1;
    g_mutex_init(&ka->route_lock);
    ka->irqchip = modes[ka->irqchip_prop];
    bool ok = open_device(ka, err) && create_vm(ka, err) && check_caps(ka, err) &&
              check_cpus(ka, m, err) && enable_ring(ka, err) && kvm_cpuid_init(ka, err) &&
              kvm_irq_init(ka, err) && kvm_x86_init(ka, err);
    if (ok) {
        size = kvm_ioctl(ka->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, NULL);
        ok = size > 0 || err_set_errno(err, "KVM_GET_VCPU_MMAP_SIZE");
        ka->run_size = (size_t)MAX(size, 0);
    }
    if (!ok || !kvm_mem_init(ka, err)) {
        int why = errno;

        a->cls->fini(a);
        errno = why;
        return false;
    }
    kvm_signals_init();
    return true;
}

static void kvm_fini(Accel *a)
{
    KvmAccel *ka = kvm_of(a);

    kvm_mem_fini(ka);
    kvm_irq_fini(ka);
    g_free(ka->cpuid);
    g_free(ka->msrs);
    if (ka->vm_fd >= 0) {
        close(ka->vm_fd);
    }
    if (ka->kvm_fd >= 0) {
        close(ka->kvm_fd);
    }
    g_mutex_clear(&ka->route_lock);
}

/* The guest's kvmclock stands while the machine does (KVM API, KVM_GET_CLOCK, KVM_KVMCLOCK_CTRL).
 */
static void kvm_run_changed(Accel *a, bool running)
{
    KvmAccel *ka = kvm_of(a);
    struct kvm_clock_data data = { 0 };

    if (!running) {
        kvm_coalesced_flush(ka);
    }
    if (!ka->caps.adjust_clock) {
        return;
    }
    if (!running) {
        ka->clock_saved = kvm_ioctl(ka->vm_fd, KVM_GET_CLOCK, &data) == 0;
        ka->clock = data.clock;
        return;
    }
    if (ka->clock_saved) {
        data.clock = ka->clock;
        kvm_must(kvm_ioctl(ka->vm_fd, KVM_SET_CLOCK, &data), "KVM_SET_CLOCK");
        ka->clock_saved = false;
        for (unsigned i = 0; ka->caps.clock_ctrl && i < a->cpus->len; i++) {
            /* EINVAL: this guest does not use the clock */
            kvm_ioctl(kvm_vcpu_of(a->cpus->pdata[i])->fd, KVM_KVMCLOCK_CTRL, NULL);
        }
    }
}

const AccelClass kvm_accel_class = {
    .name = "kvm",
    .size = sizeof(KvmAccel),
    .props = kvm_props,
    .init = kvm_init,
    .fini = kvm_fini,
    .vcpu_init = kvm_vcpu_init,
    .vcpu_fini = kvm_vcpu_fini,
    .vcpu_loop = kvm_vcpu_loop,
    .vcpu_kick = kvm_vcpu_kick,
    .get_state = kvm_get_state,
    .set_state = kvm_set_state,
    .reset = kvm_reset,
    .debug_translate = kvm_debug_translate,
    .set_debug = kvm_set_debug,
    .ioeventfd = kvm_ioeventfd,
    .irq = &kvm_irq_ops,
    .host_model = kvm_host_model,
    .run_changed = kvm_run_changed,
    .coalesce = kvm_coalesce,
    .lapic_read = kvm_lapic_read,
    .lapic_write = kvm_lapic_write,
    .max_breakpoints = 4,
    .reserved_at = IDENTITY_AT,
    .reserved_size = RESERVED_SIZE,
};
