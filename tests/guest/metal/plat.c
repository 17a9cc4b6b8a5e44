/*
 * The machine itself: ports, memory-mapped registers, ROM and RAM that change places, interrupts by
 * each controller, other processors, resets. Everything in ring 0. Each part says its name; a wrong
 * value ends the run.
 */
#include "tests/guest/metal/metal.h"

enum { IOAPIC = 0xfec00000, LAPIC = 0xfee00000, HPET = 0xfed00000 };
enum { SCRATCH = 0x700000, TRAMPOLINE = 0x8000, COUNTER = 0x9000, SHADOW = 0xc0000 };
enum { SPINS = 400000000 };

static uint32_t r32(uint64_t at)
{
    return *(volatile uint32_t *)(uintptr_t)at;
}

static void w32(uint64_t at, uint32_t v)
{
    *(volatile uint32_t *)(uintptr_t)at = v;
}

static void part(const char *name)
{
    put("part ");
    put(name);
    put("\n");
}

static void wait_irq(unsigned irq, uint32_t seen)
{
    for (unsigned i = 0; irq_count[irq] == seen; i++) {
        CHECK(i < SPINS);
        __asm__ volatile("sti\n pause" ::: "memory"); /* each time: irq_once */
    }
    __asm__ volatile("cli" ::: "memory");
}

/* Lets in what waits. */
static void listen(void)
{
    for (unsigned i = 0; i < 1000; i++) {
        __asm__ volatile("sti\n pause\n pause" ::: "memory");
    }
    __asm__ volatile("cli" ::: "memory");
}

/* The same, asleep: HLT must end by the interrupt. */
static void halt_irq(unsigned irq, uint32_t seen)
{
    while (irq_count[irq] == seen) {
        __asm__ volatile("sti\n hlt\n cli" ::: "memory");
    }
}

static uint8_t cmos(uint8_t i)
{
    out8(0x70, i);
    return in8(0x71);
}

static void set_cmos(uint8_t i, uint8_t v)
{
    out8(0x70, i);
    out8(0x71, v);
}

static void ports(void)
{
    static const char text[] = "part string\n";
    const char *s = text;
    uint64_t n = sizeof(text) - 1;
    uint32_t id;

    part("ports");
    for (unsigned i = 0; i < 8; i++) {
        set_cmos((uint8_t)(0x50 + i), (uint8_t)(0xa0 + i));
    }
    for (unsigned i = 0; i < 8; i++) {
        CHECK(cmos((uint8_t)(0x50 + i)) == 0xa0 + i);
    }
    id = vd_cfg_read(&metal_port, 0, 0, 0, 4);
    CHECK(id == 0x12378086 || id == 0x29c08086); /* i440FX, Q35 */
    CHECK(vd_cfg_read(&metal_port, 0, 0, 2, 2) == id >> 16);
    CHECK(vd_cfg_read(&metal_port, 0, 0, 3, 1) == id >> 24);
    CHECK(in8(0x5a5) == 0xff); /* nobody there */
    if (in8(0xe9) == 0xe9) {
        __asm__ volatile("rep outsb" : "+S"(s), "+c"(n) : "d"(0xe9) : "memory");
        CHECK(!n);
    }
}

static void registers(void)
{
    uint64_t caps = *(volatile uint64_t *)(uintptr_t)HPET;

    part("registers");
    CHECK((caps & 0xffff) >> 8 == 0xa2 || caps >> 16 == 0x0098968080868000 >> 16 ||
          (caps >> 16 & 0xffff) == 0x8086);
    CHECK(r32(HPET) == (uint32_t)caps && r32(HPET + 4) == caps >> 32);
    w32(HPET + 0x10, 0);
    *(volatile uint64_t *)(uintptr_t)(HPET + 0xf0) = UINT64_C(0x123456789abcdef0);
    CHECK(r32(HPET + 0xf0) == 0x9abcdef0 && r32(HPET + 0xf4) == 0x12345678);
    CHECK(r32(LAPIC + 0x30) >> 16 >= 3); /* LVT entries minus one */
    w32(IOAPIC, 1);
    CHECK((r32(IOAPIC + 0x10) >> 16 & 0xff) == 23);
}

/* ROM ignores stores; the programmable attribute map shows RAM or ROM at c0000. */
static void memory(void)
{
    volatile uint64_t *rom = (volatile uint64_t *)(uintptr_t)0xfffffff0;
    volatile uint64_t *at = (volatile uint64_t *)(uintptr_t)SHADOW;
    bool q35 = vd_cfg_read(&metal_port, 0, 0, 0, 4) == 0x29c08086;
    unsigned pam = q35 ? 0x91 : 0x5a;
    uint64_t was = *rom, under;

    part("memory");
    *rom = ~was;
    CHECK(*rom == was);
    vd_cfg_write(&metal_port, 0, 0, pam, 1, 0);
    under = *at;
    for (unsigned i = 0; i < 50; i++) {
        uint64_t v = UINT64_C(0x1122334455660000) + i;

        vd_cfg_write(&metal_port, 0, 0, pam, 1, 0x33); /* read and write RAM */
        *at = v;
        CHECK(*at == v);
        vd_cfg_write(&metal_port, 0, 0, pam, 1, 0x11); /* read only */
        *at = ~v;
        CHECK(*at == v);
        vd_cfg_write(&metal_port, 0, 0, pam, 1, 0); /* the bus */
        CHECK(*at == under);
    }
    vd_cfg_write(&metal_port, 0, 0, pam, 1, 0x33);
}

/* Interval timer through the 8259s, LINT0 as external interrupts. */
static void pic(void)
{
    static const uint8_t init[][2] = { { 0x20, 0x11 }, { 0xa0, 0x11 }, { 0x21, IRQ_BASE },
        { 0xa1, IRQ_BASE + 8 }, { 0x21, 4 }, { 0xa1, 2 }, { 0x21, 1 }, { 0xa1, 1 }, { 0x43, 0x34 },
        { 0x40, 0xa9 }, { 0x40, 0x04 }, { 0x21, 0xfe } };

    part("pic");
    out8(0x21, 0xff);
    w32(LAPIC + 0x350, 0x700);
    for (unsigned i = 0; i < sizeof(init) / sizeof(init[0]); i++) {
        out8(init[i][0], init[i][1]);
    }
    for (unsigned i = 0; i < 5; i++) { /* 1 ms each */
        uint32_t seen = irq_count[0];

        out8(0x20, 0x20);
        if (i & 1) {
            halt_irq(0, seen);
        } else {
            wait_irq(0, seen);
        }
    }
    out8(0x21, 0xff);
    out8(0x20, 0x20);
    out8(0x43, 0x30); /* stops */
}

static void lapic_timer(void)
{
    part("lapic");
    w32(LAPIC + 0x320, IRQ_BASE + 1);
    w32(LAPIC + 0x3e0, 0xb);
    for (unsigned i = 0; i < 4; i++) {
        uint32_t seen = irq_count[1];

        w32(LAPIC + 0x380, 1000000); /* 1 ms at 1 GHz */
        halt_irq(1, seen);
    }
    /* to itself */
    uint32_t seen = irq_count[2];

    w32(LAPIC + 0x300, 0x44000 | (IRQ_BASE + 2));
    wait_irq(2, seen);
}

void ioapic_pin(unsigned pin, uint32_t low)
{
    w32(IOAPIC, 0x11 + 2 * pin);
    w32(IOAPIC + 0x10, 0);
    w32(IOAPIC, 0x10 + 2 * pin);
    w32(IOAPIC + 0x10, low);
}

/* The clock's periodic interrupt by edge, an HPET comparator by level. */
static void ioapic(void)
{
    enum { TIMER1 = HPET + 0x120, LEVEL_PIN = 20, LEVEL = 1 << 15, MASKED = 1 << 16 };
    uint32_t seen;

    part("ioapic");
    ioapic_pin(8, IRQ_BASE + 3);
    set_cmos(0x0a, 0x26); /* 1024 Hz */
    set_cmos(0x0b, 0x42);
    for (unsigned i = 0; i < 4; i++) {
        seen = irq_count[3];
        cmos(0x0c);
        halt_irq(3, seen);
    }
    set_cmos(0x0b, 0x02);
    cmos(0x0c);
    ioapic_pin(8, MASKED);
    if (!(r32(TIMER1 + 4) >> LEVEL_PIN & 1)) {
        return; /* the PC's HPET has pin 2 alone */
    }
    part("level");
    irq_once = true;
    ioapic_pin(LEVEL_PIN, (IRQ_BASE + 4) | LEVEL);
    w32(HPET + 0x10, 0);
    w32(HPET + 0xf0, 0);
    w32(HPET + 0xf4, 0);
    w32(TIMER1, LEVEL_PIN << 9 | 1 << 8 | 1 << 2 | 1 << 1);
    w32(TIMER1 + 8, 5000000);
    w32(HPET + 0x10, 1);
    for (unsigned i = 1; i < 5; i++) {
        /* The handler ends the interrupt while the line is up: it must come again. */
        seen = irq_count[4];
        wait_irq(4, seen);
        seen = irq_count[4];
        wait_irq(4, seen);
        w32(HPET + 0x20, 2);                         /* lowers it */
        w32(TIMER1 + 8, r32(HPET + 0xf0) + 5000000); /* 50 ms: not in the past yet on a busy host */
    }
    w32(TIMER1, 0);
    w32(HPET + 0x20, 2);
    w32(HPET + 0x10, 0);
    ioapic_pin(LEVEL_PIN, MASKED);
    listen(); /* what had been accepted */
    seen = irq_count[4];
    listen();
    CHECK(irq_count[4] == seen);
    irq_once = false;
}

/* INIT and SIPI to all others, which count themselves; opt.batch of them are expected. */
static void processors(void)
{
    static const uint8_t code[] = { 0x31, 0xc0, 0x8e, 0xd8, 0xf0, 0xfe, 0x06, 0x00, 0x90, 0xfa,
        0xf4, 0xeb, 0xfd }; /* ds = 0; lock incb 0x9000; cli; hlt */
    volatile uint8_t *count = (volatile uint8_t *)(uintptr_t)COUNTER;

    part("processors");
    memcpy((void *)(uintptr_t)TRAMPOLINE, code, sizeof(code));
    for (unsigned round = 1; round < 4; round++) {
        *count = 0;
        w32(LAPIC + 0x300, 0xc4500);
        for (unsigned i = 0; i < 1000; i++) {
            in8(0x80);
        }
        w32(LAPIC + 0x300, 0xc4600 | TRAMPOLINE >> 12);
        for (unsigned i = 0; *count != opt.batch; i++) {
            CHECK(i < SPINS);
            __asm__ volatile("pause" ::: "memory");
        }
    }
}

static void identity(void)
{
    uint32_t a = 0x40000000, b, c = 0, d;
    char text[13];

    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    memcpy(text, &b, 4);
    memcpy(text + 4, &c, 4);
    memcpy(text + 8, &d, 4);
    text[12] = 0;
    put("hypervisor ");
    put(text);
    a = c = 0;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    memcpy(text, &b, 4);
    memcpy(text + 4, &d, 4);
    memcpy(text + 8, &c, 4);
    put(" vendor ");
    put(text);
    put("\n");
}

void plat_test(void)
{
    identity();
    ports();
    registers();
    memory();
    pic();
    lapic_timer();
    ioapic();
    processors();
    put("RESULT plat");
    put_pair("parts", 1);
    put("\n");
}

/* Memory survives each kind of reset; devices and processor start afresh. */
void reset_test(void)
{
    volatile uint32_t *mark = (volatile uint32_t *)(uintptr_t)SCRATCH;
    struct __attribute__((packed)) {
        uint16_t limit;
        uint64_t base;
    } none = { 0, 0 };
    unsigned time = mark[0] == 0x600dcafe ? mark[1] : 0;

    put("boot");
    put_pair("time", time);
    put("\n");
    CHECK((r32(LAPIC + 0xf0) & 0xff) == 0xff && in8(0x21) == 0xff);
    mark[0] = 0x600dcafe;
    mark[1] = time + 1;
    switch (time) {
    case 0:
        out8(0xcf9, 2);
        out8(0xcf9, 6);
        break;
    case 1:
        out8(0x64, 0xfe);
        break;
    case 2:
        out8(0x92, 1);
        break;
    case 3: /* triple fault */
        __asm__ volatile("lidt %0\n ud2" ::"m"(none) : "memory");
        break;
    default:
        put("RESULT reset");
        put_pair("boots", time);
        put("\n");
        return;
    }
    for (;;) {
        __asm__ volatile("cli\n hlt" ::: "memory");
    }
}

/* Counts at a fixed place until somebody writes there (gdb, the monitor). */
__attribute__((noinline)) void spin_step(volatile uint64_t *at);
__attribute__((noinline)) void spin_step(volatile uint64_t *at)
{
    at[0]++;
    __asm__ volatile("pause" ::: "memory");
}

void spin_test(void)
{
    volatile uint64_t *at = (volatile uint64_t *)(uintptr_t)SCRATCH;

    at[0] = at[1] = 0;
    put("spinning step=");
    put_hex((uint64_t)(uintptr_t)spin_step);
    put("\n");
    while (!at[1]) {
        spin_step(at);
    }
    put("RESULT spin");
    put_pair("stopped", at[1]);
    put("\n");
}

/* The clock chip's index, written again and again: each is the one that the next access of the data
 * port means, however long a write may lie somewhere on its way. */
void gather_test(void)
{
    enum { FIRST = 0x40, MANY = 64 };

    for (unsigned i = 0; i < MANY; i++) {
        out8(0x70, (uint8_t)(FIRST + i));
        out8(0x71, (uint8_t)(i ^ 0x5a));
    }
    for (unsigned i = 0; i <= opt.n; i++) {
        out8(0x70, (uint8_t)(FIRST + i % MANY));
    }
    CHECK(in8(0x71) == (uint8_t)(opt.n % MANY ^ 0x5a));
    put("RESULT gather");
    put_pair("writes", opt.n);
    put("\n");
}

/* Runs where no memory is: KVM cannot go on. */
void lost_test(void)
{
    put("leaving\n");
    ((void (*)(void))(uintptr_t)0xd0000000)();
}
