/* system/options.c, option-table.c, smp.c: the command line taken apart. */
#include "system/system.h"

#include <string.h>

/* The rest of the program is not linked: what the option table calls for its help texts and the
 * machine. */
void help_for_item(OptKind kind, const OptItem *item) {}

void help_options(void) {}

void help_version(void) {}

static Options *parse(GError **err, ...) G_GNUC_NULL_TERMINATED;
static Options *parse(GError **err, ...)
{
    char *argv[32] = { NULL };
    int argc = 1;
    va_list ap;
    Options *o = options_new();

    va_start(ap, err);
    for (char *a; (a = va_arg(ap, char *)); argv[argc++] = a) {
    }
    va_end(ap);
    if (!options_parse(o, argc, argv, err)) {
        options_free(o);
        return NULL;
    }
    return o;
}

static void check_bad(const char *expected, const char *option, const char *arg)
{
    g_autoptr(GError) err = NULL;

    g_assert_null(parse(&err, option, arg, NULL));
    g_assert_cmpstr(err->message, ==, expected);
}

static void test_errors(void)
{
    check_bad("-foo: invalid option", "-foo", NULL);
    check_bad("--foo: invalid option", "--foo", NULL);
    check_bad("-m: requires an argument", "-m", NULL);
    check_bad("-m abc: Parameter 'size' expects a non-negative number below 2^64\n"
              "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\n"
              "and exabytes, respectively.",
        "-m", "abc");
    check_bad("-m -1: Value '-1' is out of range for parameter 'size'", "-m", "-1");
    check_bad("-m foo=1: Invalid parameter 'foo'", "-m", "foo=1");
    check_bad("Parameter 'smp.cpus' expects integer", "-smp", "abc");
    check_bad("Parameter 'smp.foo' is unexpected", "-smp", "foo=1");
    check_bad("-device {'driver':: JSON parse error, premature EOI", "-device", "{'driver':");
    check_bad("-set device.x.y=1: there is no device \"x\" defined", "-set", "device.x.y=1");
    check_bad("-set foo: can't parse: \"foo\"", "-set", "foo");
    check_bad("-sandbox foo: Parameter 'enable' expects 'on' or 'off'", "-sandbox", "foo");
    check_bad("-hda d.img: IDE disks are not available: use -drive file=d.img,if=virtio", "-hda",
        "d.img");
    check_bad(
        "-msg timestamp=abc: Parameter 'timestamp' expects 'on' or 'off'", "-msg", "timestamp=abc");
}

static void test_values(void)
{
    g_autoptr(GError) err = NULL;
    Options *o = parse(&err, "-m", "512", "--smp", "4,sockets=2", "-boot", "dc", "-name",
        "vm,debug-threads=on", "-kernel", "a", "-kernel", "b", "-S", "-L", "/x", "-L", "/y", NULL);

    g_assert_no_error(err);
    g_assert_cmpuint(o->ram_size, ==, 512ull << 20);
    g_assert_cmpint(o->cpus, ==, 4);
    g_assert_cmpint(o->sockets, ==, 2);
    g_assert_cmpint(o->cores, ==, OPTION_COUNT_UNSET);
    g_assert_cmpstr(o->boot_order, ==, "dc");
    g_assert_cmpint(o->boot_reboot_timeout, ==, OPTION_COUNT_UNSET);
    g_assert_cmpstr(o->name, ==, "vm");
    g_assert_true(o->debug_threads && o->stopped && !o->nographic);
    g_assert_cmpstr(o->kernel, ==, "b");
    g_assert_cmpstr(o->data_dirs[1], ==, "/y");
    options_free(o);
}

static void test_items(void)
{
    g_autoptr(GError) err = NULL;
    Options *o = parse(&err, "-device", "virtio-rng-pci,id=r,addr=04.0", "-netdev",
        "user,id=n,hostfwd=a,hostfwd=b", "-device", "{'driver': 'virtio-net-pci', 'mq': true}",
        "-set", "device.r.addr=05.0", "-serial", "null", "-object",
        "memory-backend-memfd,id=m,size=256M,", NULL);

    g_assert_no_error(err);
    const OptItem *rng = o->items[OPT_DEVICE]->pdata[0], *nic = o->items[OPT_DEVICE]->pdata[1];
    const OptItem *net = o->items[OPT_NETDEV]->pdata[0], *ser = o->items[OPT_SERIAL]->pdata[0];

    g_assert_cmpstr(rng->typed, ==, "-device virtio-rng-pci,id=r,addr=04.0");
    g_assert_cmpstr(json_get_str_or(rng->args, "addr", ""), ==, "05.0");
    g_assert_true(json_get_bool(json_get(nic->args, "mq")));
    g_assert_cmpuint(json_len(net->args), ==, 4);
    g_assert_cmpstr(ser->text, ==, "null");
    g_assert_null(ser->args);
    options_free(o);
}

static void check_smp(
    const char *text, unsigned sockets, unsigned cores, unsigned threads, unsigned max)
{
    static const MachineClass mc = { .name = "m", .max_cpus = 255 };
    g_autoptr(GError) err = NULL;
    g_autofree char *arg = g_strdup(text);
    Options *o = parse(&err, "-smp", arg, NULL);
    Machine m = { .mc = &mc };

    g_assert_no_error(err);
    g_assert_true(setup_smp(&m, o, &err));
    g_assert_cmpuint(m.smp.sockets, ==, sockets);
    g_assert_cmpuint(m.smp.cores, ==, cores);
    g_assert_cmpuint(m.smp.threads, ==, threads);
    g_assert_cmpuint(m.smp.maxcpus, ==, max);
    options_free(o);
}

static void check_bad_smp(const char *text, const char *message)
{
    static const MachineClass mc = { .name = "m", .max_cpus = 255 };
    g_autoptr(GError) err = NULL;
    g_autofree char *arg = g_strdup(text);
    Options *o = parse(&err, "-smp", arg, NULL);
    Machine m = { .mc = &mc };

    g_assert_no_error(err);
    g_assert_false(setup_smp(&m, o, &err));
    g_assert_cmpstr(err->message, ==, message);
    options_free(o);
}

static void test_smp(void)
{
    check_smp("4", 1, 4, 1, 4);
    check_smp("4,sockets=2", 2, 2, 1, 4);
    check_smp("8,cores=2,threads=2", 2, 2, 2, 8);
    check_smp("8,sockets=2,cores=2", 2, 2, 2, 8);
    check_smp("2,maxcpus=4", 1, 4, 1, 4);
    check_smp("sockets=2,cores=3", 2, 3, 1, 6);
    check_bad_smp("0", "Invalid CPU topology: CPU topology parameters must be greater than zero");
    check_bad_smp("300", "Invalid SMP CPUs 300. The max CPUs supported by machine 'm' is 255");
    check_bad_smp("4,sockets=3",
        "Invalid CPU topology: product of the hierarchy must match maxcpus: sockets (3) * dies (1) "
        "* modules (1) * cores (1) * threads (1) != maxcpus (4)");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/options/errors/name-the-option", test_errors);
    g_test_add_func("/options/values/last-one-counts", test_values);
    g_test_add_func("/options/items/kept-in-order", test_items);
    g_test_add_func("/options/smp/topology", test_smp);
    return g_test_run();
}
