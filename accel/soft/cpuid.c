/*
 * CPUID from the CPU model (SDM vol. 2, CPUID; AMD64 APM vol. 3, appendix E). x86_cpuid() knows
 * only the model: the KVM accelerator asks it too. Covered by tests/cpu/mini and
 * tests/unit/test-cpu-model.
 */
#include "seg.h"

#include <string.h>

static unsigned width_of(unsigned n)
{
    unsigned w = 0;

    while (1u << w < n) {
        w++;
    }
    return w;
}

static unsigned threads_per_package(const X86CpuModel *m)
{
    return m->threads_per_core * m->cores_per_die * m->dies;
}

static unsigned package_width(const X86CpuModel *m)
{
    return width_of(m->threads_per_core) + width_of(m->cores_per_die) + width_of(m->dies);
}

/* Three registers of text: EBX, EDX, ECX for the vendor, in that order. */
static uint32_t text32(const char *s)
{
    uint32_t v;

    memcpy(&v, s, 4);
    return v;
}

static void leaf_vendor(const X86CpuModel *m, uint32_t max, X86CpuidLeaf *l)
{
    l->eax = max;
    l->ebx = text32(m->vendor);
    l->edx = text32(m->vendor + 4);
    l->ecx = text32(m->vendor + 8);
}

static uint32_t signature(const X86CpuModel *m)
{
    uint32_t family = m->family > 15 ? 15 | (m->family - 15) << 16 : m->family;
    uint32_t base = family & 15, ext = family >> 16;

    return ext << 20 | (m->model >> 4 & 15) << 16 | base << 8 | (m->model & 15) << 4 |
           (m->stepping & 15);
}

static void leaf_1(const X86CpuModel *m, uint32_t apic_id, X86CpuidLeaf *l)
{
    unsigned threads = threads_per_package(m);

    l->eax = signature(m);
    l->ebx = apic_id << 24 | 8 << 8; /* CLFLUSH line: 64 bytes */
    l->ecx = m->f1_ecx;
    l->edx = m->f1_edx;
    if (threads > 1) {
        l->ebx |= (threads > 255 ? 255 : threads) << 16;
        l->edx |= 1u << 28; /* HTT */
    }
}

static void leaf_topology(const X86CpuModel *m, uint32_t apic_id, X86CpuidLeaf *l)
{
    l->has_subleaf = true;
    l->ecx = l->subleaf & 0xff;
    l->edx = apic_id;
    if (l->subleaf == 0) {
        l->eax = width_of(m->threads_per_core);
        l->ebx = m->threads_per_core;
        l->ecx |= 1 << 8;
    } else if (l->subleaf == 1) {
        l->eax = package_width(m);
        l->ebx = threads_per_package(m);
        l->ecx |= 2 << 8;
    }
}

static void leaf_name(const X86CpuModel *m, unsigned part, X86CpuidLeaf *l)
{
    char text[48] = { 0 };

    memcpy(text, m->model_id, strnlen(m->model_id, sizeof text));
    l->eax = text32(text + 16 * part);
    l->ebx = text32(text + 16 * part + 4);
    l->ecx = text32(text + 16 * part + 8);
    l->edx = text32(text + 16 * part + 12);
}

static void leaf_basic(const X86CpuModel *m, uint32_t apic_id, X86CpuidLeaf *l)
{
    switch (l->leaf) {
    case 0:
        leaf_vendor(m, m->level, l);
        break;
    case 1:
        leaf_1(m, apic_id, l);
        break;
    case 5:
        l->ecx = 3; /* MONITOR's enumeration; QEMU compat */
        break;
    case 6:
        l->eax = m->f6_eax;
        break;
    case 7:
        l->has_subleaf = true;
        if (l->subleaf == 0) {
            l->ebx = m->f7_ebx;
            l->ecx = m->f7_ecx;
            l->edx = m->f7_edx;
        }
        break;
    case 0xb:
        leaf_topology(m, apic_id, l);
        break;
    case 0xd:
        l->has_subleaf = true;
        l->eax = l->subleaf == 1 ? m->fd1_eax : 0;
        break;
    default:
        break;
    }
}

static void leaf_extended(const X86CpuModel *m, X86CpuidLeaf *l)
{
    unsigned threads = threads_per_package(m);

    switch (l->leaf) {
    case 0x80000000:
        leaf_vendor(m, m->xlevel, l);
        break;
    case 0x80000001:
        l->eax = signature(m);
        l->ecx = m->f80000001_ecx | (threads > 1 ? 2 : 0); /* CmpLegacy */
        l->edx = m->f80000001_edx;
        break;
    case 0x80000002:
    case 0x80000003:
    case 0x80000004:
        leaf_name(m, l->leaf - 0x80000002, l);
        break;
    case 0x80000005: /* L1: 64 KiB each, 2-way, TLBs of 255 entries */
        l->eax = l->ebx = 0x01ff01ff;
        l->ecx = l->edx = 0x40020140;
        break;
    case 0x80000006: /* L2 and L3 */
        l->ebx = 0x42004200;
        l->ecx = 0x02008140;
        l->edx = 0x00808140;
        break;
    case 0x80000007:
        l->edx = m->f80000007_edx;
        break;
    case 0x80000008:
        l->eax = m->phys_bits | (m->f80000001_edx & 1u << 29 ? 48 << 8 : 32 << 8);
        l->ebx = m->f80000008_ebx;
        l->ecx = threads > 1 ? package_width(m) << 12 | (threads - 1) : 0;
        break;
    default:
        break;
    }
}

void x86_cpuid(const X86CpuModel *m, uint32_t apic_id, X86CpuidLeaf *l)
{
    l->eax = l->ebx = l->ecx = l->edx = 0;
    l->has_subleaf = false;
    if (l->leaf >> 16 == 0x4000) {
        if (m->hypervisor && l->leaf <= 0x40000001) {
            if (l->leaf == 0x40000000) {
                l->eax = 0x40000001;
                l->ebx = text32("TCGT");
                l->ecx = text32("CGTC");
                l->edx = text32("GTCG");
            }
            return;
        }
    }
    if (l->leaf >= 0x80000000 && l->leaf <= m->xlevel) {
        leaf_extended(m, l);
        return;
    }
    if (l->leaf > m->level) {
        l->leaf = m->level; /* SDM vol. 2, CPUID: as the highest basic leaf */
    }
    leaf_basic(m, apic_id, l);
}

void insn_cpuid(SoftCpu *c, const Insn *in)
{
    X86CpuidLeaf l = { .leaf = (uint32_t)c->r[R_AX], .subleaf = (uint32_t)c->r[R_CX] };

    (void)in;
    x86_cpuid(c->model, c->apic_id, &l);
    if (l.leaf == 1 && (c->cr4 & 1u << 18)) {
        l.ecx |= 1u << 27; /* OSXSAVE mirrors CR4 */
    }
    /* The APIC bit follows IA32_APIC_BASE's global enable (SDM vol. 3, 11.4.3). */
    if (l.leaf == 1 && !(c->bus->apic_base(c->bus_opaque) & 1u << 11)) {
        l.edx &= ~(1u << 9);
    }
    c->r[R_AX] = l.eax;
    c->r[R_BX] = l.ebx;
    c->r[R_CX] = l.ecx;
    c->r[R_DX] = l.edx;
}
