/* -cpu's text and CPUID: qemu64 as QEMU 10.0 shows it, except for what the engine does not do. */
#include "hw/i386/cpu-model.h"

#include <glib.h>

static X86CpuidLeaf ask(const X86CpuModel *m, uint32_t leaf, uint32_t subleaf)
{
    X86CpuidLeaf l = { .leaf = leaf, .subleaf = subleaf };

    x86_cpuid(m, /* apic_id= */ 0, &l);
    return l;
}

static void assert_leaf(const X86CpuModel *m, uint32_t leaf, const uint32_t want[4])
{
    X86CpuidLeaf l = ask(m, leaf, 0);

    g_assert_cmphex(l.eax, ==, want[0]);
    g_assert_cmphex(l.ebx, ==, want[1]);
    g_assert_cmphex(l.ecx, ==, want[2]);
    g_assert_cmphex(l.edx, ==, want[3]);
}

static X86CpuModel *model(const char *text)
{
    g_autoptr(GError) err = NULL;
    X86CpuModel *m = x86_cpu_model_new(text, /* host= */ NULL, &err);

    g_assert_no_error(err);
    return m;
}

static void assert_refused(const char *text, const char *message)
{
    g_autoptr(GError) err = NULL;

    g_assert_null(x86_cpu_model_new(text, /* host= */ NULL, &err));
    g_assert_cmpstr(err->message, ==, message);
}

/* Measured on qemu-system-x86_64 10.0 -accel tcg -cpu qemu64; only SVM (80000001h ECX bit 2,
 * 8000000Ah) is missing. */
static void test_qemu64(void)
{
    g_autofree X86CpuModel *m = model("qemu64");

    assert_leaf(m, 0, (const uint32_t[]){ 0xd, 0x68747541, 0x444d4163, 0x69746e65 });
    assert_leaf(m, 1, (const uint32_t[]){ 0x00060fb1, 0x00000800, 0x80002001, 0x078bfbfd });
    assert_leaf(m, 5, (const uint32_t[]){ 0, 0, 3, 0 });
    assert_leaf(m, 7, (const uint32_t[]){ 0, 0, 0, 0 });
    assert_leaf(m, 0xb, (const uint32_t[]){ 0, 1, 0x100, 0 });
    assert_leaf(
        m, 0x40000000, (const uint32_t[]){ 0x40000001, 0x54474354, 0x43544743, 0x47435447 });
    assert_leaf(
        m, 0x80000000, (const uint32_t[]){ 0x8000000a, 0x68747541, 0x444d4163, 0x69746e65 });
    assert_leaf(m, 0x80000001, (const uint32_t[]){ 0x00060fb1, 0, 1, 0x2193fbfd });
    assert_leaf(
        m, 0x80000002, (const uint32_t[]){ 0x554d4551, 0x72695620, 0x6c617574, 0x55504320 });
    assert_leaf(
        m, 0x80000003, (const uint32_t[]){ 0x72657620, 0x6e6f6973, 0x352e3220, 0x0000002b });
    assert_leaf(
        m, 0x80000005, (const uint32_t[]){ 0x01ff01ff, 0x01ff01ff, 0x40020140, 0x40020140 });
    assert_leaf(m, 0x80000006, (const uint32_t[]){ 0, 0x42004200, 0x02008140, 0x00808140 });
    assert_leaf(m, 0x80000008, (const uint32_t[]){ 0x00003028, 0, 0, 0 });
    assert_leaf(m, 0xc0000000, (const uint32_t[]){ 0, 0, 0, 0 });
}

/* Measured with -smp 8,sockets=1,dies=2,cores=2,threads=2. */
static void test_topology(void)
{
    g_autofree X86CpuModel *m = model("qemu64");

    m->dies = m->cores_per_die = m->threads_per_core = 2;
    assert_leaf(m, 1, (const uint32_t[]){ 0x00060fb1, 0x00080800, 0x80002001, 0x178bfbfd });
    assert_leaf(m, 0xb, (const uint32_t[]){ 1, 2, 0x100, 0 });
    g_assert_cmphex(ask(m, 0xb, 1).eax, ==, 3);
    g_assert_cmphex(ask(m, 0xb, 1).ebx, ==, 8);
    g_assert_cmphex(ask(m, 0xb, 2).ecx, ==, 2);
    assert_leaf(m, 0x80000008, (const uint32_t[]){ 0x00003028, 0, 0x3007, 0 });
    g_assert_cmphex(ask(m, 0x80000001, 0).ecx, ==, 3);
}

static void test_features(void)
{
    g_autofree X86CpuModel *m =
        model("qemu64,-pni,+x2apic,nx=off,family=6,model=0x3a,smep,lahf_lm=off");

    g_assert_cmphex(m->f1_ecx, ==, 0x80202000);
    g_assert_cmphex(m->f80000001_edx & (1u << 20), ==, 0);
    g_assert_cmphex(m->f80000001_ecx, ==, 0);
    g_assert_cmphex(m->f7_ebx, ==, 1u << 7);
    g_assert_cmphex(ask(m, 1, 0).eax, ==, 0x000306a1);
}

static void test_minus_wins(void)
{
    g_autofree X86CpuModel *m = model("qemu64,-x2apic,+x2apic,x2apic=on");

    g_assert_cmphex(m->f1_ecx & (1u << 21), ==, 0);
}

static void test_unimplemented_is_dropped(void)
{
    g_autofree X86CpuModel *m = model("qemu64,check=off,+svm,+avx512f");

    g_assert_cmphex(m->f80000001_ecx, ==, 1);
    g_assert_cmphex(m->f7_ebx, ==, 0);
    assert_refused("qemu64,check=off,enforce,+svm", "TCG doesn't support requested features");
}

static void test_errors(void)
{
    assert_refused("", "-cpu option cannot be empty");
    assert_refused("foo", "unable to find CPU model 'foo'");
    assert_refused("host", "CPU model 'host' requires KVM or HVF");
    assert_refused("qemu64,foo",
        "can't apply global qemu64-x86_64-cpu.foo=on: Property 'qemu64-x86_64-cpu.foo' not found");
    assert_refused("qemu64,+foo", "Property 'qemu64-x86_64-cpu.foo' not found");
    assert_refused("qemu64,nx=maybe",
        "can't apply global qemu64-x86_64-cpu.nx=maybe: Parameter 'nx' expects 'on' or 'off'");
    assert_refused("qemu64,family=300",
        "can't apply global qemu64-x86_64-cpu.family=300: parameter 'family' can be at most 270");
    assert_refused("qemu64,vendor=abc", "can't apply global qemu64-x86_64-cpu.vendor=abc: value of "
                                        "property 'vendor' must consist of exactly 12 "
                                        "characters");
    assert_refused("qemu64,phys-bits=99", "phys-bits should be between 32 and 52  (but is 99)");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cpu-model/qemu64-is-qemus", test_qemu64);
    g_test_add_func("/cpu-model/topology-leaves", test_topology);
    g_test_add_func("/cpu-model/features", test_features);
    g_test_add_func("/cpu-model/minus-wins", test_minus_wins);
    g_test_add_func("/cpu-model/unimplemented-is-dropped", test_unimplemented_is_dropped);
    g_test_add_func("/cpu-model/errors", test_errors);
    return g_test_run();
}
