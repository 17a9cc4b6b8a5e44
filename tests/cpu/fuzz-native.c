/*
 * Runs a case on the host CPU. A trap enters the signal handler, which replaces the interrupted
 * context by the case's state (registers, flags, CS and SS, FP image) and returns into the
 * instruction; the exception that ends it comes back to the handler, which keeps the state found
 * there and resumes the caller.
 */
#include "fuzz.h"

#include <asm/ldt.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

enum { ARCH_SET_GS_CODE = 0x1001, ARCH_SET_FS_CODE = 0x1002, ARCH_GET_FS_CODE = 0x1003 };
enum { SEL_CODE16 = 0x07, SEL_DATA16 = 0x0f };

/* Signal handlers have no argument of ours: the one place for the state they share with
 * native_run(). */
static struct Native {
    const FuzzCase *c;
    FuzzResult *res;
    enum { IDLE, ENTER, INSIDE } phase;
    gregset_t main_regs;
    _Alignas(16) uint8_t main_fx[512];
    uint64_t main_bv;
    bool mode16;
    uint8_t *code;
    unsigned long fs_base;
    NativeNote note;
    struct rusage usage; /* after the last case */
} nat;

static const int greg_of[16] = { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI,
    REG_RDI, REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15 };

static uint64_t sel_word(uint64_t old, uint16_t cs, uint16_t ss)
{
    return (old & 0x0000ffffffff0000ull) | cs | (uint64_t)ss << 48;
}

static void enter_case(ucontext_t *uc)
{
    greg_t *g = uc->uc_mcontext.gregs;
    uint8_t *fx = (uint8_t *)uc->uc_mcontext.fpregs;
    uint64_t bv;
    const FuzzState *s = &nat.c->in;

    memcpy(nat.main_regs, g, sizeof nat.main_regs);
    memcpy(nat.main_fx, fx, 464);
    memcpy(&nat.main_bv, fx + 512, 8);
    for (unsigned i = 0; i < 16; i++) {
        g[greg_of[i]] = (greg_t)s->r[i];
    }
    g[REG_RIP] = (greg_t)s->rip;
    g[REG_EFL] = (greg_t)s->rflags;
    if (nat.c->mode == FUZZ_64) {
        g[REG_CSGSFS] = (greg_t)sel_word((uint64_t)g[REG_CSGSFS], 0x33, 0x2b);
    } else if (nat.c->mode == FUZZ_32) {
        g[REG_CSGSFS] = (greg_t)sel_word((uint64_t)g[REG_CSGSFS], 0x23, 0x2b);
    } else {
        g[REG_CSGSFS] = (greg_t)sel_word((uint64_t)g[REG_CSGSFS], SEL_CODE16, SEL_DATA16);
    }
    memcpy(fx, s->fx, 416); /* the software-reserved bytes behind belong to the kernel */
    nat.note.xstate_in = nat.main_bv;
    bv = nat.main_bv | 3;
    memcpy(fx + 512, &bv, 8);
}

static void leave_case(ucontext_t *uc)
{
    greg_t *g = uc->uc_mcontext.gregs;
    uint8_t *fx = (uint8_t *)uc->uc_mcontext.fpregs;
    FuzzResult *r = nat.res;

    for (unsigned i = 0; i < 16; i++) {
        r->s.r[i] = (uint64_t)g[greg_of[i]];
    }
    r->s.rip = (uint64_t)g[REG_RIP];
    r->s.rflags = (uint64_t)g[REG_EFL];
    r->vector = (unsigned)g[REG_TRAPNO];
    r->error = (uint32_t)g[REG_ERR];
    r->cr2 = (uint64_t)g[REG_CR2];
    memcpy(r->s.fx, fx, 416);
    memcpy(&nat.note.xstate_out, fx + 512, 8);
    r->sel[1] = (uint16_t)g[REG_CSGSFS];
    r->sel[2] = (uint16_t)((uint64_t)g[REG_CSGSFS] >> 48);
    memcpy(g, nat.main_regs, sizeof nat.main_regs);
    memcpy(fx, nat.main_fx, 464);
    memcpy(fx + 512, &nat.main_bv, 8);
}

/* The data segments stay what the case made them, and FS is the thread pointer of this code. */
static void leave_segs(void)
{
    long ret = SYS_arch_prctl;
    uint16_t *s = nat.res->sel;

    __asm__ volatile("mov %%es, %0\n\tmov %%ds, %1\n\tmov %%fs, %2\n\tmov %%gs, %3"
                     : "=m"(s[0]), "=m"(s[3]), "=m"(s[4]), "=m"(s[5]));
    __asm__ volatile("mov %1, %%fs\n\tsyscall"
                     : "+a"(ret)
                     : "r"(0), "D"(ARCH_SET_FS_CODE), "S"(nat.fs_base)
                     : "rcx", "r11", "memory");
}

__attribute__((optimize("no-stack-protector"))) static void on_signal(
    int sig, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;

    if (nat.phase == INSIDE && nat.c->enc->flags & E_SEG) {
        leave_segs();
    }
    nat.note.nsignals++;
    nat.note.sig = sig;
    nat.note.code = info->si_code;
    if (nat.phase == ENTER) {
        nat.phase = INSIDE;
        enter_case(uc);
    } else if (nat.phase == INSIDE) {
        nat.phase = IDLE;
        leave_case(uc);
    } else {
        /* Ours, not the case's: die in the ordinary way. */
        signal(sig, SIG_DFL);
    }
}

static bool set_ldt(unsigned entry, unsigned contents, bool present, bool plain)
{
    struct user_desc d = { .entry_number = entry,
        .base_addr = FUZZ_AREA,
        .limit = 0xffff,
        .seg_32bit = 0,
        .contents = contents,
        .seg_not_present = !present,
        .read_exec_only = !plain,
        .useable = 1 };

    return syscall(SYS_modify_ldt, 0x11, &d, sizeof d) == 0;
}

unsigned fuzz_page_kind(unsigned page)
{
    static const uint8_t kind[FUZZ_PAGES] = { PAGE_HOLE, PAGE_RW, PAGE_RW, PAGE_HOLE, PAGE_RO,
        PAGE_RW, PAGE_HOLE, PAGE_HOLE, PAGE_CODE, PAGE_CODE };

    return page < FUZZ_PAGES ? kind[page] : PAGE_HOLE;
}

static bool map_code(void)
{
    int fd = memfd_create("fuzz-code", MFD_CLOEXEC);
    void *at = (void *)(uintptr_t)FUZZ_CODE;

    if (fd < 0 || ftruncate(fd, 8192) < 0) {
        return false;
    }
    nat.code = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (nat.code == MAP_FAILED) {
        return false;
    }
    memset(nat.code, 0xcc, 8192);
    bool ok = mmap(at, 8192, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED_NOREPLACE | MAP_POPULATE,
                  fd, 0) == at;
    close(fd);
    return ok;
}

static bool map_area(void)
{
    for (unsigned i = 0; i < FUZZ_PAGES; i++) {
        unsigned kind = fuzz_page_kind(i);
        int prot = PROT_READ | (kind == PAGE_RO ? 0 : PROT_WRITE);
        void *at = (void *)(uintptr_t)(FUZZ_AREA + i * 4096u);

        if (kind == PAGE_HOLE || kind == PAGE_CODE) {
            continue;
        }
        if (mmap(at, 4096, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_POPULATE,
                -1, 0) != at) {
            fprintf(stderr, "cannot map the test area at %p: %s\n", at, strerror(errno));
            return false;
        }
    }
    if (!map_code()) {
        fprintf(stderr, "cannot map the code pages: %s\n", strerror(errno));
        return false;
    }
    return true;
}

static void load_data_segs(uint16_t sel, uint16_t gs)
{
    __asm__ volatile("mov %w0, %%ds\n\tmov %w0, %%es\n\tmov %w1, %%gs"
                     :
                     : "r"((unsigned)sel), "r"((unsigned)gs));
}

bool native_init(void)
{
    static const int sigs[] = { SIGTRAP, SIGSEGV, SIGFPE, SIGILL, SIGBUS };
    stack_t ss = { .ss_size = 256 * 1024 };
    struct sigaction sa = { .sa_sigaction = on_signal,
        .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };

    if (!map_area()) {
        return false;
    }
    ss.ss_sp = malloc(ss.ss_size);
    sigaltstack(&ss, NULL);
    for (unsigned i = 0; i < sizeof sigs / sizeof *sigs; i++) {
        sigaction(sigs[i], &sa, NULL);
    }
    nat.mode16 = set_ldt(0, MODIFY_LDT_CONTENTS_CODE, true, true) &&
                 set_ldt(1, MODIFY_LDT_CONTENTS_DATA, true, true) &&
                 set_ldt(2, MODIFY_LDT_CONTENTS_DATA, false, true) &&
                 set_ldt(3, MODIFY_LDT_CONTENTS_DATA, true, false) &&
                 set_ldt(4, MODIFY_LDT_CONTENTS_CODE, true, false) &&
                 set_ldt(5, MODIFY_LDT_CONTENTS_STACK, true, true);
    syscall(SYS_arch_prctl, ARCH_GET_FS_CODE, &nat.fs_base);
    load_data_segs(0x2b, 0);
    return syscall(SYS_arch_prctl, ARCH_SET_GS_CODE, (unsigned long)FUZZ_AREA) == 0;
}

bool native_mode_ok(FuzzMode mode)
{
    if (mode != FUZZ_64 && !nat.mode16) {
        fprintf(stderr, "modify_ldt() is not available: no 16- and 32-bit cases\n");
        return false;
    }
    return true;
}

uint8_t *native_area(void)
{
    return (uint8_t *)(uintptr_t)FUZZ_AREA;
}

uint8_t *native_code(void)
{
    return nat.code;
}

const FuzzCase *native_current(void)
{
    return nat.c;
}

const NativeNote *native_note(void)
{
    return &nat.note;
}

void native_run(const FuzzCase *c, FuzzResult *ret)
{
    struct rusage before = nat.usage;
    uint64_t start;

    memset(&nat.note, 0, sizeof nat.note);
    start = __builtin_ia32_rdtsc();
    nat.c = c;
    nat.res = ret;
    if (c->mode == FUZZ_16) {
        load_data_segs(SEL_DATA16, SEL_DATA16);
    } else if (c->mode == FUZZ_32) {
        load_data_segs(0x2b, SEL_DATA16);
    }
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    nat.phase = ENTER;
    __asm__ volatile("int3" : : : "memory");
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    nat.note.cycles = __builtin_ia32_rdtsc() - start;
    getrusage(RUSAGE_THREAD, &nat.usage);
    const struct rusage *u = &nat.usage;
    nat.note.switches = u->ru_nivcsw + u->ru_nvcsw - before.ru_nivcsw - before.ru_nvcsw;
    nat.note.faults = u->ru_minflt + u->ru_majflt - before.ru_minflt - before.ru_majflt;
    if (c->mode != FUZZ_64 || c->enc->flags & E_SEG) {
        load_data_segs(0x2b, 0);
        syscall(SYS_arch_prctl, ARCH_SET_GS_CODE, (unsigned long)FUZZ_AREA);
    }
}
