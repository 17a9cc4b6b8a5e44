/* -accel qtest: vCPUs that only hold state; the virtual clock moves by command (qtest.c). Test:
 * tests/unit/test-qtest-protocol.c */
#include "accel/qtest/qtest-accel.h"

#include "hw/core/machine.h"
#include "util/timer.h"

static bool qtest_init(Accel *a, struct Machine *m, GError **err)
{
    clock_virtual_use_qtest();
    return true;
}

static bool qtest_vcpu_init(Accel *a, VCpu *cpu, GError **err)
{
    cpu->impl = g_new0(X86State, 1);
    return true;
}

static void qtest_vcpu_fini(VCpu *cpu)
{
    g_clear_pointer(&cpu->impl, g_free);
}

static void qtest_get_state(VCpu *cpu, X86State *ret)
{
    *ret = *(X86State *)cpu->impl;
}

static void qtest_set_state(VCpu *cpu, const X86State *s)
{
    *(X86State *)cpu->impl = *s;
}

/* SDM vol. 3, table 10-1: what a register dump shows of a CPU that never ran. */
static void qtest_reset(VCpu *cpu)
{
    X86State *s = cpu->impl;

    *s = (X86State){ .rip = 0xfff0, .rflags = 2, .cr0 = 0x60000010, .wait_sipi = cpu->index != 0 };
    for (unsigned i = 0; i < X86_NSEGS; i++) {
        s->seg[i] = (X86Seg){ .limit = 0xffff, .attr = 0x93 };
    }
    s->seg[SEG_CS] = (X86Seg){ .base = 0xffff0000, .limit = 0xffff, .sel = 0xf000, .attr = 0x9b };
    s->gdt.limit = s->idt.limit = 0xffff;
    s->dr[6] = 0xffff0ff0;
    s->dr[7] = 0x400;
    s->apic_base = 0xfee00800 | (cpu->index ? 0 : 1u << 8);
}

const AccelClass qtest_accel_class = {
    .name = "qtest",
    .size = sizeof(Accel),
    .init = qtest_init,
    .vcpu_init = qtest_vcpu_init,
    .vcpu_fini = qtest_vcpu_fini,
    .get_state = qtest_get_state,
    .set_state = qtest_set_state,
    .reset = qtest_reset,
};
