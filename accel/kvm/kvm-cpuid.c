/*
 * CPUID under KVM: what the kernel can show, and a vCPU's leaves made from its model (KVM API, 4.46
 * KVM_GET_SUPPORTED_CPUID, 4.20 KVM_SET_CPUID2; SDM vol. 2, CPUID). Tests:
 * tests/system/test_kvm.py
 */
#include "hw/core/machine.h"
#include "kvm-internal.h"

#include <cpuid.h>
#include <errno.h>
#include <string.h>

enum { MAX_LEAVES = 256, F1_ECX_XSAVE = 1 << 26, KVM_LEAF = 0x40000000 };

static const struct kvm_cpuid_entry2 *find(const KvmAccel *ka, uint32_t leaf, uint32_t subleaf)
{
    static const struct kvm_cpuid_entry2 none;

    for (unsigned i = 0; i < ka->cpuid->nent; i++) {
        const struct kvm_cpuid_entry2 *e = &ka->cpuid->entries[i];
        if (e->function == leaf && e->index == subleaf) {
            return e;
        }
    }
    return &none;
}

bool kvm_cpuid_init(KvmAccel *ka, GError **err)
{
    for (unsigned n = 64;; n *= 2) {
        ka->cpuid = g_realloc(ka->cpuid, sizeof *ka->cpuid + n * sizeof ka->cpuid->entries[0]);
        memset(ka->cpuid, 0, sizeof *ka->cpuid + n * sizeof ka->cpuid->entries[0]);
        ka->cpuid->nent = n;
        if (kvm_ioctl(ka->kvm_fd, KVM_GET_SUPPORTED_CPUID, ka->cpuid) == 0) {
            return true;
        }
        if (errno != E2BIG || n > 4096) {
            return err_set_errno(err, "KVM_GET_SUPPORTED_CPUID");
        }
    }
}

static void put_text(char *to, uint32_t a, uint32_t b, uint32_t c)
{
    memcpy(to, &a, 4);
    memcpy(to + 4, &b, 4);
    memcpy(to + 8, &c, 4);
}

/* The processor's own name; KVM does not say it. */
static void host_name(X86CpuModel *m)
{
    uint32_t r[4], max = __get_cpuid_max(0x80000000, NULL);

    memset(m->model_id, 0, sizeof m->model_id);
    for (unsigned i = 0; max >= 0x80000004 && i < 3; i++) {
        __cpuid(0x80000002 + i, r[0], r[1], r[2], r[3]);
        memcpy(m->model_id + 16 * i, r, sizeof r);
    }
}

bool kvm_host_model(Accel *a, X86CpuModel *ret)
{
    const KvmAccel *ka = kvm_of(a);
    const struct kvm_cpuid_entry2 *l0 = find(ka, 0, 0), *l1 = find(ka, 1, 0), *l7 = find(ka, 7, 0);
    const struct kvm_cpuid_entry2 *e1 = find(ka, 0x80000001, 0);
    uint32_t family = l1->eax >> 8 & 15;
    bool chips = ka->irqchip != ACCEL_IRQCHIP_SOFT;

    *ret = (X86CpuModel){ .level = l0->eax, .xlevel = find(ka, 0x80000000, 0)->eax };
    put_text(ret->vendor, l0->ebx, l0->edx, l0->ecx);
    ret->family = family == 15 ? family + (l1->eax >> 20 & 0xff) : family;
    ret->model = (l1->eax >> 4 & 15) | (l1->eax >> 16 & 15) << 4;
    ret->stepping = l1->eax & 15;
    host_name(ret);
    ret->f1_edx = l1->edx | 1u << 28; /* HTT is ours to say */
    ret->f1_ecx = (l1->ecx & ~(1u << 27)) | 1u << 31;
    /* Both need the kernel's local APIC; the kernel does not list them itself. */
    ret->f1_ecx &= ~(1u << 21 | 1u << 24);
    ret->f1_ecx |= chips ? 1u << 21 | (ka->caps.tsc_deadline ? 1u << 24 : 0) : 0;
    ret->f7_ebx = l7->ebx;
    ret->f7_ecx = l7->ecx;
    ret->f7_edx = l7->edx;
    ret->f80000001_edx = e1->edx;
    ret->f80000001_ecx = e1->ecx | 2; /* CmpLegacy, likewise */
    if (!strcmp(ret->vendor, "AuthenticAMD")) {
        ret->f80000001_edx |= l1->edx & 0x0183f3ff;
    }
    ret->f80000007_edx = find(ka, 0x80000007, 0)->edx;
    ret->f80000008_ebx = find(ka, 0x80000008, 0)->ebx;
    ret->f6_eax = find(ka, 6, 0)->eax | 1u << 2; /* the kernel's APIC timer never stops */
    ret->fd1_eax = find(ka, 0xd, 1)->eax;
    ret->f4000_eax = find(ka, KVM_LEAF + 1, 0)->eax;
    ret->phys_bits = (uint8_t)find(ka, 0x80000008, 0)->eax;
    ret->phys_bits = ret->phys_bits ? ret->phys_bits : 36;
    ret->hypervisor = true;
    return true;
}

/* A vCPU's leaves under construction. */
typedef struct Leaves {
    const KvmAccel *ka;
    const X86CpuModel *m;
    uint32_t apic_id;
    struct kvm_cpuid2 *out;
} Leaves;

static struct kvm_cpuid_entry2 *put(Leaves *l, uint32_t leaf, uint32_t subleaf, bool indexed)
{
    struct kvm_cpuid_entry2 *e;

    g_assert(l->out->nent < MAX_LEAVES);
    e = &l->out->entries[l->out->nent++];
    *e = (struct kvm_cpuid_entry2){
        .function = leaf, .index = subleaf, .flags = indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0
    };
    return e;
}

static void put_model(Leaves *l, uint32_t leaf, uint32_t subleaf, bool indexed)
{
    X86CpuidLeaf x = { .leaf = leaf, .subleaf = subleaf };
    struct kvm_cpuid_entry2 *e = put(l, leaf, subleaf, indexed);

    x86_cpuid(l->m, l->apic_id, &x);
    e->eax = x.eax;
    e->ebx = x.ebx;
    e->ecx = x.ecx;
    e->edx = x.edx;
}

static struct kvm_cpuid_entry2 *put_host(Leaves *l, uint32_t leaf, uint32_t subleaf)
{
    const struct kvm_cpuid_entry2 *h = find(l->ka, leaf, subleaf);
    struct kvm_cpuid_entry2 *e = put(l, leaf, subleaf, h->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX);

    e->eax = h->eax;
    e->ebx = h->ebx;
    e->ecx = h->ecx;
    e->edx = h->edx;
    return e;
}

/* Caches are the host's, who shares them is the guest's topology: SDM vol. 2, CPUID leaf 4. */
static void put_caches(Leaves *l)
{
    unsigned threads = l->m->threads_per_core * l->m->cores_per_die * l->m->dies;

    for (uint32_t i = 0; find(l->ka, 4, i)->eax & 31; i++) {
        struct kvm_cpuid_entry2 *e = put_host(l, 4, i);
        unsigned sharing = (e->eax >> 5 & 7) == 3 ? threads : l->m->threads_per_core;

        e->eax &= 0x3fff;
        e->eax |= (MAX(l->m->cores_per_die, 1) - 1) << 26 | (MAX(sharing, 1) - 1) << 14;
    }
    put(l, 4, 4, /* indexed= */ true);
}

/* The state components that the model's features need: SDM vol. 1, 13.2. */
static uint64_t xcr0_of(const X86CpuModel *m)
{
    uint64_t x = 3;

    if (!(m->f1_ecx & F1_ECX_XSAVE)) {
        return 0;
    }
    x |= m->f1_ecx >> 28 & 1 ? 1u << 2 : 0;           /* AVX */
    x |= m->f7_ebx >> 14 & 1 ? 3u << 3 : 0;           /* MPX */
    x |= m->f7_ebx >> 16 & 1 ? 7u << 5 : 0;           /* AVX-512 */
    x |= m->f7_ecx >> 3 & 1 ? 1u << 9 : 0;            /* PKU */
    x |= m->f7_edx >> 24 & 1 ? UINT64_C(3) << 17 : 0; /* AMX */
    return x;
}

static void put_xsave(Leaves *l)
{
    const struct kvm_cpuid_entry2 *h = find(l->ka, 0xd, 0);
    uint64_t have = h->eax | (uint64_t)h->edx << 32, x = xcr0_of(l->m) & have;
    struct kvm_cpuid_entry2 *e = put(l, 0xd, 0, /* indexed= */ true), *features;
    uint32_t size = 0x240;

    if (!x) {
        put(l, 0xd, 1, /* indexed= */ true);
        return;
    }
    features = put(l, 0xd, 1, /* indexed= */ true);
    features->eax = l->m->fd1_eax;
    for (unsigned i = 2; i < 63; i++) {
        if (x >> i & 1) {
            const struct kvm_cpuid_entry2 *c = put_host(l, 0xd, i);
            size = MAX(size, c->ebx + c->eax);
        }
    }
    e->eax = (uint32_t)x;
    e->edx = (uint32_t)(x >> 32);
    e->ecx = size;
    e->ebx = 0x240; /* the kernel keeps it with XCR0 */
}

static void put_basic(Leaves *l, uint32_t leaf)
{
    bool amx = l->m->f7_edx >> 24 & 1;

    switch (leaf) {
    case 2:
    case 0x15:
    case 0x16:
    case 0x19:
        if (l->m->host) {
            put_host(l, leaf, 0);
        }
        break;
    case 4:
        if (l->m->host) {
            put_caches(l);
        }
        break;
    case 7:
        put_model(l, 7, 0, /* indexed= */ true);
        if (l->m->host) {
            uint32_t max = find(l->ka, 7, 0)->eax;

            l->out->entries[l->out->nent - 1].eax = max;
            for (uint32_t i = 1; i <= max && i < 8; i++) {
                put_host(l, 7, i);
            }
        }
        break;
    case 0xb:
        for (uint32_t i = 0; i < 3; i++) {
            put_model(l, 0xb, i, /* indexed= */ true);
        }
        break;
    case 0xd:
        put_xsave(l);
        break;
    case 0x1d:
    case 0x1e:
        for (uint32_t i = 0; i < 2 && amx; i++) {
            put_host(l, leaf, i);
        }
        break;
    case 0:
    case 1:
    case 5:
    case 6:
        put_model(l, leaf, 0, /* indexed= */ false);
        break;
    default: /* zero: not offered */
        put(l, leaf, 0, /* indexed= */ false);
        break;
    }
}

/* Documentation/virt/kvm/x86/cpuid.rst */
static void put_kvm(Leaves *l)
{
    struct kvm_cpuid_entry2 *e = put(l, KVM_LEAF, 0, /* indexed= */ false);

    e->eax = KVM_LEAF + 1;
    memcpy(&e->ebx, "KVMK", 4);
    memcpy(&e->ecx, "VMKV", 4);
    memcpy(&e->edx, "M\0\0\0", 4);
    e = put(l, KVM_LEAF + 1, 0, /* indexed= */ false);
    /* kvmclock is both of its MSR pairs */
    e->eax = (l->m->f4000_eax & ~(1u << 3)) | (l->m->f4000_eax & 1) << 3;
}

bool kvm_vcpu_set_cpuid(KvmVcpu *v, GError **err)
{
    const X86CpuModel *m = v->ka->a.machine->cpu_model;
    g_autofree struct kvm_cpuid2 *out =
        g_malloc0(sizeof *out + MAX_LEAVES * sizeof out->entries[0]);
    Leaves l = { .ka = v->ka, .m = m, .apic_id = v->cpu->apic_id, .out = out };

    for (uint32_t leaf = 0; leaf <= MIN(m->level, 0x24u); leaf++) {
        put_basic(&l, leaf);
    }
    if (!m->kvm_hidden && m->f1_ecx >> 31) {
        put_kvm(&l);
    }
    for (uint32_t leaf = 0x80000000; m->xlevel >> 31 && leaf <= MIN(m->xlevel, 0x80000022);
         leaf++) {
        put_model(&l, leaf, 0, /* indexed= */ false);
    }
    return kvm_ioctl(v->fd, KVM_SET_CPUID2, out) == 0 ||
           err_set_errno(err, "KVM takes no CPUID for vCPU %u", v->cpu->index);
}
