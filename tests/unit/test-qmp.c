/* monitor/: QMP requests and their replies on a machine without parts, the schema, and the human
 * monitor. */
#include "monitor/monitor.h"

#include <string.h>

typedef struct Part {
    Dev dev;
    uint32_t size;
    bool loud;
} Part;

static const PropSpec part_props[] = {
    PROP_U32("size", Part, size, 7, "how big"),
    { .name = "loud",
        .type = &prop_bool,
        .offset = offsetof(Part, loud),
        .bit = -1,
        .flags = PROP_RUNTIME },
    PROP_END,
};
static const ObjClass part_class = {
    .name = "part",
    .parent = "device",
    .size = sizeof(Part),
    .flags = OBJ_DEVICE,
    .props = (const PropGroup[]){ { part_props, NULL }, { NULL, NULL } },
};
static const ObjClass thing_class = {
    .name = "thing",
    .parent = "object",
    .size = sizeof(Obj),
    .flags = OBJ_USER_OBJECT,
};
static const ObjClass abstract_class = { .name = "abstract-part",
    .parent = "device",
    .size = sizeof(Dev),
    .flags = OBJ_ABSTRACT | OBJ_DEVICE };
static const MachineClass bare_machine = {
    .name = "bare", .desc = "nothing at all", .max_cpus = 1, .is_default = true
};

const ObjClass *const obj_classes[] = { &part_class, &thing_class, &abstract_class, NULL };
const ObjAlias obj_aliases[] = { { NULL, NULL } };
const MachineClass *const machine_classes[] = { &bare_machine, NULL };
const QmpCmd *const qmp_tables[] = { monitor_misc_cmds, monitor_fd_cmds, monitor_qom_cmds,
    monitor_machine_cmds, NULL };
const QomTypes *const qom_types[] = { NULL };
const HmpInfo *const hmp_info_tables[] = { monitor_infos, monitor_tree_infos, NULL };

static Machine *machine;

/* request and reply with single quotes for the eye. */
static void check(const char *request, const char *reply)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(Json) j = json_parse(request, -1, &err);

    g_assert_no_error(err);
    g_autoptr(Json) got = qmp_reply(machine, j);
    g_autofree char *text = json_to_string(got, false);

    g_strdelimit(text, "\"", '\'');
    g_assert_cmpstr(text, ==, reply);
}

static void test_shape(void)
{
    check("5", "{'error': {'class': 'GenericError', 'desc': 'QMP input must be a JSON object'}}");
    check("{}", "{'error': {'class': 'GenericError', 'desc': 'QMP input lacks member 'execute''}}");
    check("{'execute': 5}", "{'error': {'class': 'GenericError', 'desc': 'QMP input member "
                            "'execute' must be a string'}}");
    check("{'execute': 'stop', 'arguments': 5}",
        "{'error': {'class': 'GenericError', 'desc': 'QMP input member 'arguments' must be an "
        "object'}}");
    check("{'execute': 'stop', 'foo': 1}",
        "{'error': {'class': 'GenericError', 'desc': 'QMP input member 'foo' is unexpected'}}");
    check("{'execute': 'foo', 'id': 7}",
        "{'id': 7, 'error': {'class': 'CommandNotFound', 'desc': 'The command foo has not been "
        "found'}}");
    check("{'execute': 'query-status', 'id': {'a': [1, null]}}",
        "{'return': {'status': 'prelaunch', 'running': false}, 'id': {'a': [1, null]}}");
}

static void test_arguments(void)
{
    check("{'execute': 'query-status', 'arguments': {'a': 1}}",
        "{'error': {'class': 'GenericError', 'desc': 'Parameter 'a' is unexpected'}}");
    check("{'execute': 'qom-get', 'arguments': {'path': 1}}",
        "{'error': {'class': 'GenericError', 'desc': 'Invalid parameter type for 'path', expected: "
        "string'}}");
    check("{'execute': 'qom-get', 'arguments': {'path': '/machine'}}",
        "{'error': {'class': 'GenericError', 'desc': 'Parameter 'property' is missing'}}");
    check("{'execute': 'getfd', 'arguments': {'fdname': 'x'}}",
        "{'error': {'class': 'GenericError', 'desc': 'No file descriptor supplied via "
        "SCM_RIGHTS'}}");
    check("{'execute': 'closefd', 'arguments': {'fdname': 'x'}}",
        "{'error': {'class': 'GenericError', 'desc': 'File descriptor named 'x' not found'}}");
}

static void test_objects(void)
{
    check("{'execute': 'qom-list-types', 'arguments': {'implements': 'device'}}",
        "{'return': [{'name': 'part', 'parent': 'device'}]}");
    check("{'execute': 'qom-list-types', 'arguments': {'implements': 'device', 'abstract': true}}",
        "{'return': [{'name': 'part', 'parent': 'device'}, {'name': 'abstract-part', 'parent': "
        "'device'}]}");
    check("{'execute': 'object-add', 'arguments': {'qom-type': 'nope', 'id': 'x'}}",
        "{'error': {'class': 'GenericError', 'desc': 'Parameter 'qom-type' does not accept value "
        "'nope''}}");
    check("{'execute': 'object-add', 'arguments': {'qom-type': 'thing', 'id': '9x'}}",
        "{'error': {'class': 'GenericError', 'desc': 'Parameter 'id' expects an identifier'}}");
    check("{'execute': 'object-add', 'arguments': {'qom-type': 'thing', 'id': 't0'}}",
        "{'return': {}}");
    check("{'execute': 'object-add', 'arguments': {'qom-type': 'thing', 'id': 't0'}}",
        "{'error': {'class': 'GenericError', 'desc': 'attempt to add duplicate property 't0' to "
        "object (type 'container')'}}");
    check("{'execute': 'qom-list', 'arguments': {'path': '/objects'}}",
        "{'return': [{'name': 'type', 'type': 'string'}, {'name': 't0', 'type': 'child<thing>'}]}");
    check("{'execute': 'object-del', 'arguments': {'id': 't0'}}", "{'return': {}}");
    check("{'execute': 'object-del', 'arguments': {'id': 't0'}}",
        "{'error': {'class': 'GenericError', 'desc': 'object 't0' not found'}}");
}

static void test_devices(void)
{
    check("{'execute': 'device_add'}",
        "{'error': {'class': 'GenericError', 'desc': 'Parameter 'driver' is missing'}}");
    check("{'execute': 'device_add', 'arguments': {'driver': 'part', 'id': 'p0', 'size': 9}}",
        "{'return': {}}");
    check(
        "{'execute': 'qom-get', 'arguments': {'path': 'p0', 'property': 'size'}}", "{'return': 9}");
    check("{'execute': 'qom-get', 'arguments': {'path': '/machine/peripheral/p0', 'property': "
          "'realized'}}",
        "{'return': true}");
    check("{'execute': 'qom-get', 'arguments': {'path': 'p0', 'property': 'nope'}}",
        "{'error': {'class': 'GenericError', 'desc': 'Property 'part.nope' not found'}}");
    check("{'execute': 'qom-set', 'arguments': {'path': 'p0', 'property': 'size', 'value': 1}}",
        "{'error': {'class': 'GenericError', 'desc': 'Attempt to set property 'size' on device "
        "'p0' (type 'part') after it was realized'}}");
    check("{'execute': 'qom-set', 'arguments': {'path': 'p0', 'property': 'loud', 'value': true}}",
        "{'return': {}}");
    check("{'execute': 'device-list-properties', 'arguments': {'typename': 'part'}}",
        "{'return': [{'default-value': 7, 'name': 'size', 'description': 'how big', 'type': "
        "'uint32'}, {'default-value': false, 'name': 'loud', 'description': 'on/off', 'type': "
        "'bool'}]}");
    check("{'execute': 'device-list-properties', 'arguments': {'typename': 'thing'}}",
        "{'error': {'class': 'GenericError', 'desc': 'Parameter 'typename' expects a non-abstract "
        "device type'}}");
    check("{'execute': 'device_del', 'arguments': {'id': 'zz'}}",
        "{'error': {'class': 'DeviceNotFound', 'desc': 'Device 'zz' not found'}}");
}

static void test_machines(void)
{
    check("{'execute': 'query-machines'}",
        "{'return': [{'hotpluggable-cpus': false, 'name': 'bare', 'numa-mem-supported': false, "
        "'acpi': false, 'cpu-max': 1, 'deprecated': false, 'is-default': true}]}");
    check("{'execute': 'query-cpus-fast'}", "{'return': []}");
}

/* Names that the schema's entries refer to are entries themselves. */
static void test_schema_is_closed(void)
{
    static const char *const refs[] = { "arg-type", "ret-type", "element-type" };
    g_autoptr(Json) schema = qmp_schema();
    g_autoptr(GHashTable) names = g_hash_table_new(g_str_hash, g_str_equal);

    for (unsigned i = 0; i < json_len(schema); i++) {
        const char *name = json_get_str(json_get(json_at(schema, i), "name"));

        g_assert_true(g_hash_table_add(names, (char *)(uintptr_t)name));
    }
    for (unsigned i = 0; i < json_len(schema); i++) {
        const Json *e = json_at(schema, i), *members = json_get(e, "members");

        for (unsigned r = 0; r < G_N_ELEMENTS(refs); r++) {
            const char *to = json_get_str_or(e, refs[r], NULL);

            g_assert_true(!to || g_hash_table_contains(names, to));
        }
        for (unsigned m = 0; members && m < json_len(members); m++) {
            const char *to = json_get_str_or(json_at(members, m), "type", NULL);

            g_assert_true(!to || g_hash_table_contains(names, to));
        }
    }
    g_assert_true(g_hash_table_contains(names, "device_add"));
    g_assert_true(g_hash_table_contains(names, "RESET"));
}

static void hmp(const char *line, const char *expected)
{
    g_autoptr(GString) out = g_string_new(NULL);

    hmp_run(machine, line, out);
    g_assert_cmpstr(out->str, ==, expected);
}

static void test_hmp(void)
{
    const uint8_t bytes[] = { 0xea, 0x5b, 0xe0, 0x00, 'A', '\'', '\n', 0x80 };

    addrspace_write(machine->mem, 0x1000, bytes, sizeof bytes);
    hmp("info status", "VM status: paused (prelaunch)\n");
    hmp("foo", "unknown command: 'foo'\n");
    hmp("info foo", "unknown command: 'info foo'\n");
    hmp("system_reset x", "system_reset: extraneous characters at the end of line\n"
                          "Try \"help system_reset\" for more information\n");
    hmp("device_del",
        "device_del: string expected\nTry \"help device_del\" for more information\n");
    hmp("device_del zz", "Error: Device 'zz' not found\n");
    hmp("print (1+2)*0x10-4", "0x2c\n");
    hmp("print 1/0", "division by zero\n");
    hmp("print $rip", "No CPU defined\n");
    hmp("xp/2xw 0x1000", "0000000000001000: 0x00e05bea 0x800a2741\n");
    hmp("xp /1xg 0x1000", "0000000000001000: 0x800a274100e05bea\n");
    hmp("xp /2dh 0x1000", "0000000000001000: 23530   224\n");
    hmp("xp /2db 0x1006", "0000000000001006:  10 -128\n");
    hmp("xp /4c 0x1004", "0000000000001004: 'A' '\\'' '\\n' '\\x80'\n");
    hmp("xp /z 0", "invalid char in format: 'z'\nTry \"help xp\" for more information\n");
    hmp("xp", "unexpected end of expression\nTry \"help xp\" for more information\n");
    hmp("x 0", "0000000000000000: Cannot access memory\n");
    hmp("help stop", "stop|s  -- stop emulation\n");
    hmp("", "");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    loop_main();
    Region ram;

    machine = machine_new(&bare_machine);
    machine->run = run_state_new();
    g_assert_true(region_init_ram(&ram, NULL, "ram", 0x10000, NULL));
    region_map(&machine->mem_root, 0, &ram, 0);
    g_test_add_func("/qmp/request/shape", test_shape);
    g_test_add_func("/qmp/request/arguments", test_arguments);
    g_test_add_func("/qmp/qom/objects-come-and-go", test_objects);
    g_test_add_func("/qmp/device/add-get-set", test_devices);
    g_test_add_func("/qmp/machine/lists", test_machines);
    g_test_add_func("/qmp/schema/refers-to-itself", test_schema_is_closed);
    g_test_add_func("/hmp/commands", test_hmp);
    return g_test_run();
}
