/*
 * What a doorbell costs a vCPU under KVM, without a device behind it: nobody sleeps on the eventfd,
 * so that only the kernel's way from the store to its counter is seen. Prints ns for each kind;
 * scripts and people compare them.
 */
#include "tests/unit/vcpus.h"

enum { TURNS = 16, UNROLL = 64 };

typedef struct Kind {
    const char *name;
    bool port, bell;
    unsigned size; /* of the registration; 0: any */
} Kind;

/* Ring 0 in 64-bit mode with the first 2 MiB mapped one to one: SDM vol. 3, 4.5. */
static void long_mode(Fixture *f)
{
    enum { TABLES = 0x1000, PRESENT_WRITABLE = 3, LARGE = 0x80 };
    uint64_t *t = (uint64_t *)(void *)((uint8_t *)region_host(&f->ram) + TABLES);
    X86State s;

    t[0] = (TABLES + 0x1000) | PRESENT_WRITABLE;
    t[512] = (TABLES + 0x2000) | PRESENT_WRITABLE;
    t[1024] = LARGE | PRESENT_WRITABLE;
    vcpu_get_state(cpu_at(f, 0), &s);
    s.cr3 = TABLES;
    s.cr4 = 1 << 5;
    s.efer = 0x500;
    s.cr0 = 0x80000011;
    for (unsigned i = 0; i < X86_NSEGS; i++) {
        s.seg[i] = (X86Seg){ .limit = UINT32_MAX, .sel = 16, .attr = 0xc093 };
    }
    s.seg[SEG_CS] = (X86Seg){ .limit = UINT32_MAX, .sel = 8, .attr = 0xa09b };
    s.rip = CODE;
    s.r[4] = 0x6000;
    vcpu_set_state(cpu_at(f, 0), &s);
}

static double one(const Kind *k)
{
    Fixture f;
    int fd = fd_eventfd();

    set_up(&f, 1, "{}");
    Doorbell bell = { k->port ? f.m->io : f.m->mem, k->port ? 0x84 : 0xd020, k->size, k->port, 0,
        fd };
    if (k->bell) {
        g_assert_true(accel_ioeventfd_add(f.a, &bell));
    }
    /* 2: out 0x80,al; mov ecx,TURNS; xor eax,eax; 1: the store, UNROLL times; dec ecx; jnz 1b;
     * out 0x81,al; jmp 2b. The stores: out 0x84,ax; mov [0xd020],eax */
    static const uint8_t out[] = { 0x66, 0xe7, 0x84 }, mov[] = { 0x89, 4, 0x25, 0x20, 0xd0, 0, 0 };
    static const uint8_t head[] = { 0xe6, 0x80, 0xb9, TURNS & 255, TURNS >> 8, 0, 0, 0x31, 0xc0 };
    uint8_t *p = (uint8_t *)region_host(&f.ram) + CODE;
    size_t len = k->port ? sizeof out : sizeof mov;
    int32_t back = -(int32_t)(len * UNROLL + 8),
            start = -(int32_t)(sizeof head + len * UNROLL + 15);

    memcpy(p, head, sizeof head);
    p += sizeof head;
    for (unsigned i = 0; i < UNROLL; i++, p += len) {
        memcpy(p, k->port ? out : mov, len);
    }
    memcpy(p, (const uint8_t[]){ 0xff, 0xc9, 0x0f, 0x85 }, 4);
    memcpy(p + 4, &back, 4);
    memcpy(p + 8, (const uint8_t[]){ 0xe6, 0x81, 0xe9 }, 3);
    memcpy(p + 11, &start, 4);
    long_mode(&f);
    accel_resume(f.a);
    wait_count(&f, 1, k->bell ? 400 : 40);
    accel_pause(f.a);
    double ns = (double)f.shortest * 1000 / (TURNS * UNROLL);
    tear_down(&f);
    close(fd);
    return ns;
}

int main(void)
{
    static const Kind kinds[] = {
        { "port", true, true, 2 },
        { "fast MMIO", false, true, 0 },
        { "4-byte MMIO", false, true, 4 },
        { "userspace exit", false, false, 0 },
    };
    double ns[G_N_ELEMENTS(kinds)];
    autofd fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

    if (fd < 0) {
        g_print("/dev/kvm: %s\n", g_strerror(errno));
        return 77;
    }
    loop_main();
    clock_virtual_start();
    cls = &kvm_accel_class;
    for (unsigned i = 0; i < G_N_ELEMENTS(kinds); i++) {
        ns[i] = one(&kinds[i]);
        g_print("%-15s %8.0f ns  %.2f of a port\n", kinds[i].name, ns[i], ns[i] / ns[0]);
    }
    g_print("fast MMIO       %.2f of 4-byte MMIO\n", ns[1] / ns[2]);
    return 0;
}
