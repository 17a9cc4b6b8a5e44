/* The types of what QMP says and hears, as far as no property table knows them. Tested by
 * tests/system/test_schema.py. */
#include "qmp-types.h"

/* clang-format off */
const QmpTypeRow qmp_named_types[] = {
    { "Shutdown", "{guest:bool,reason:<host-error|host-qmp-quit|host-qmp-system-reset|host-signal|host-ui|"
        "guest-shutdown|guest-reset|guest-panic>}" },
    { "Property", "{name:str,type:str,*description:str,*default-value:any}" },
    { "CpuPlace", "{*socket-id:int,*die-id:int,*core-id:int,*thread-id:int}" },
    { "CpuModel", "{name:str,*props:any}" },
    { "Features", "{transports:[str],*dev-features:[str],*unknown-dev-features:int,*unknown-dev-features2:int}" },
    { "Node", "{file:str,*node-name:str,ro:bool,drv:str,*backing_file:str,backing_file_depth:int,active:bool,"
        "encrypted:bool,detect_zeroes:<off|on|unmap>,bps:int,bps_rd:int,bps_wr:int,iops:int,iops_rd:int,iops_wr:int,"
        "*bps_max:int,*bps_rd_max:int,*bps_wr_max:int,*iops_max:int,*iops_rd_max:int,*iops_wr_max:int,*bps_max_length:int,"
        "*bps_rd_max_length:int,*bps_wr_max_length:int,*iops_max_length:int,*iops_rd_max_length:int,*iops_wr_max_length:int,"
        "*iops_size:int,*group:str,"
        "image:$Image,cache:{writeback:bool,direct:bool,no-flush:bool},write_threshold:int}" },
    { "Image", "{filename:str,format:str,*dirty-flag:bool,*actual-size:int,virtual-size:int,*cluster-size:int,"
        "*encrypted:bool,*compressed:bool,*backing-filename:str,*full-backing-filename:str,*backing-filename-format:str,"
        "*backing-image:$Image,*format-specific:$ImageSpecific}" },
    { "ImageSpecific", "{type:<file|qcow2>@type file={data:{}} qcow2={data:{compat:str,*extended-l2:bool,"
        "*lazy-refcounts:bool,*corrupt:bool,refcount-bits:int,compression-type:<zlib>}}}" },
    { "Stats", "{rd_bytes:int,wr_bytes:int,unmap_bytes:int,*zone_append_bytes:int,rd_operations:int,wr_operations:int,"
        "flush_operations:int,unmap_operations:int,*zone_append_operations:int,*rd_total_time_ns:int,"
        "*wr_total_time_ns:int,*flush_total_time_ns:int,*unmap_total_time_ns:int,*wr_highest_offset:int,*rd_merged:int,"
        "*wr_merged:int,*unmap_merged:int,*idle_time_ns:int,failed_rd_operations:int,failed_wr_operations:int,"
        "failed_flush_operations:int,failed_unmap_operations:int,*invalid_rd_operations:int,"
        "*invalid_wr_operations:int,*invalid_flush_operations:int,*invalid_unmap_operations:int,*account_invalid:bool,"
        "*account_failed:bool,*timed_stats:[$TimedStats],*failed_zone_append_operations:int,*invalid_zone_append_operations:int,"
        "*zone_append_merged:int,*zone_append_total_time_ns:int}" },
    { "BlockStats", "{*device:str,*qdev:str,*node-name:str,stats:$Stats,*parent:$BlockStats,*backing:$BlockStats,"
        "*driver-specific:$NodeStats}" },
    { "TimedStats", "{interval_length:int}" },
    { "NodeStats", "{driver:<file|host_device>@driver file={discard-nb-ok:int,discard-nb-failed:int,discard-bytes-ok:int} "
        "host_device={discard-nb-ok:int,discard-nb-failed:int,discard-bytes-ok:int}}" },
    { "ThrottleLimits", "{*bps-total:int,*bps-total-max:int,*bps-total-max-length:int,*bps-read:int,"
        "*bps-read-max:int,*bps-read-max-length:int,*bps-write:int,*bps-write-max:int,"
        "*bps-write-max-length:int,*iops-total:int,*iops-total-max:int,*iops-total-max-length:int,"
        "*iops-read:int,*iops-read-max:int,*iops-read-max-length:int,*iops-write:int,"
        "*iops-write-max:int,*iops-write-max-length:int,*iops-size:int}" },
    { "PciRange", "{base:int,limit:int}" },
    { "PciBridge", "{bus:{number:int,secondary:int,subordinate:int,io_range:$PciRange,memory_range:$PciRange,"
        "prefetchable_range:$PciRange},*devices:[$PciDevice]}" },
    { "PciDevice", "{bus:int,slot:int,function:int,class_info:{*desc:str,class:int},"
        "id:{device:int,vendor:int,*subsystem:int,*subsystem-vendor:int},*irq:int,irq_pin:int,qdev_id:str,"
        "*pci_bridge:$PciBridge,regions:[{bar:int,type:str,address:int,size:int,*prefetch:bool,*mem_type_64:bool}]}" },
    { "SocketAddress", "{type:<inet|unix|fd>@type inet={data:{host:str,port:str,*to:int,*ipv4:bool,*ipv6:bool}} "
        "unix={data:{path:str,*abstract:bool,*tight:bool}} fd={data:{str:str}}}" },
    { "Chardev", "{type:<null|socket|file|pipe|serial|pty|stdio|ringbuf|udp>@type null={data:{$Log}} "
        "socket={data:{addr:$SocketAddress,*server:bool,*wait:bool,*nodelay:bool,*reconnect:int,*reconnect-ms:int,$Log}} "
        "file={data:{out:str,*in:str,*append:bool,$Log}} pipe={data:{device:str,$Log}} serial={data:{device:str,$Log}} "
        "pty={data:{*path:str,$Log}} stdio={data:{*signal:bool,$Log}} ringbuf={data:{*size:int,$Log}} "
        "udp={data:{remote:$SocketAddress,*local:$SocketAddress,$Log}}}" },
    { "InputMove", "{data:{axis:<x|y>,value:int}}" },
    { "KeyValue", "{type:<number|qcode>@type number={data:int} qcode={data:<"
        "unmapped|shift|shift_r|alt|alt_r|ctrl|ctrl_r|menu|esc|1|2|3|4|5|6|7|8|9|"
        "0|minus|equal|backspace|tab|q|w|e|r|t|y|u|i|o|p|bracket_left|"
        "bracket_right|ret|a|s|d|f|g|h|j|k|l|semicolon|apostrophe|grave_accent|"
        "backslash|z|x|c|v|b|n|m|comma|dot|slash|asterisk|spc|caps_lock|f1|f2|f3|"
        "f4|f5|f6|f7|f8|f9|f10|num_lock|scroll_lock|kp_divide|kp_multiply|kp_subtract|"
        "kp_add|kp_enter|kp_decimal|sysrq|kp_0|kp_1|kp_2|kp_3|kp_4|kp_5|kp_6|kp_7|kp_8|"
        "kp_9|less|f11|f12|print|home|pgup|pgdn|end|left|up|down|right|insert|delete|"
        "stop|again|props|undo|front|copy|open|paste|find|cut|lf|help|meta_l|meta_r|"
        "compose|pause|ro|hiragana|henkan|yen|muhenkan|katakanahiragana|kp_comma|"
        "kp_equals|power|sleep|wake|audionext|audioprev|audiostop|audioplay|audiomute|"
        "volumeup|volumedown|mediaselect|mail|calculator|computer|ac_home|ac_back|"
        "ac_forward|ac_refresh|ac_bookmarks|lang1|lang2|f13|f14|f15|f16|f17|f18|f19|"
        "f20|f21|f22|f23|f24"
        ">}}" },
    { "InputEvent", "{type:<key|btn|rel|abs|mtt>@type key={data:{key:$KeyValue,down:bool}} "
        "btn={data:{button:<left|middle|right|wheel-up|wheel-down|side|extra|wheel-left|wheel-right|touch>,down:bool}} "
        "rel=$InputMove abs=$InputMove "
        "mtt={data:{type:<begin|update|end|cancel|data>,slot:int,tracking-id:int,axis:<x|y>,value:int}}}" },
    { "VncClient", "{host:str,service:str,family:<ipv4|ipv6|unix|vsock|unknown>,websocket:bool}" },
    { "VncListener", "{host:str,service:str,family:<ipv4|ipv6|unix|vsock|unknown>,websocket:bool,auth:<none|vnc>}" },
    { "VncPeers", "{server:{host:str,service:str,family:<ipv4|ipv6|unix|vsock|unknown>,websocket:bool,*auth:str},client:$VncClient}" },
    { "Log", "*logfile:str,*logappend:bool" }, /* a part of others */
    { NULL, NULL },
};

const QmpTypeRow qmp_returns[] = {
    { "qmp_capabilities", "{}" },
    { "add-fd", "{fdset-id:int,fd:int}" },
    { "chardev-add", "{*pty:str}" },
    { "chardev-change", "{*pty:str}" },
    { "device-list-properties", "[$Property]" },
    { "human-monitor-command", "str" },
    { "qom-get", "any" },
    { "qom-list", "[$Property]" },
    { "qom-list-properties", "[$Property]" },
    { "qom-list-types", "[{name:str,*abstract:bool,*parent:str}]" },
    { "query-balloon", "{actual:int}" },
    { "query-block", "[{device:str,*qdev:str,type:str,removable:bool,locked:bool,*inserted:$Node,*tray_open:bool,"
        "*io-status:<ok|failed|nospace>}]" },
    { "query-blockstats", "[$BlockStats]" },
    { "query-chardev", "[{label:str,filename:str,frontend-open:bool}]" },
    { "query-chardev-backends", "[{name:str}]" },
    { "query-command-line-options", "[{option:str,parameters:[{name:str,type:<string|boolean|number|size>,*help:str,"
        "*default:str}]}]" },
    { "query-commands", "[{name:str}]" },
    { "query-cpu-definitions", "[{name:str,*migration-safe:bool,static:bool,*unavailable-features:[str],typename:str,"
        "*alias-of:str,deprecated:bool}]" },
    { "query-cpu-model-expansion", "{model:$CpuModel}" },
    { "query-cpus-fast", "[{cpu-index:int,qom-path:str,thread-id:int,*props:$CpuPlace,target:<x86_64>}]" },
    { "query-current-machine", "{wakeup-suspend-support:bool}" },
    { "query-fdsets", "[{fdset-id:int,fds:[{fd:int,*opaque:str}]}]" },
    { "query-hotpluggable-cpus", "[{type:str,vcpus-count:int,props:$CpuPlace,*qom-path:str}]" },
    { "query-iothreads", "[{id:str,thread-id:int,poll-max-ns:int,poll-grow:int,poll-shrink:int,aio-max-batch:int}]" },
    { "query-kvm", "{enabled:bool,present:bool}" },
    { "query-machines", "[{name:str,*alias:str,*is-default:bool,cpu-max:int,hotpluggable-cpus:bool,"
        "numa-mem-supported:bool,deprecated:bool,*default-cpu-type:str,*default-ram-id:str,acpi:bool}]" },
    { "query-memdev", "[{*id:str,size:int,merge:bool,dump:bool,prealloc:bool,share:bool,*reserve:bool,host-nodes:[int],"
        "policy:<default|preferred|bind|interleave>}]" },
    { "query-memory-size-summary", "{base-memory:int,*plugged-memory:int}" },
    { "query-migrate-capabilities", "[{capability:<events>,state:bool}]" },
    { "query-mice", "[{name:str,index:int,current:bool,absolute:bool}]" },
    { "query-name", "{*name:str}" },
    { "query-named-block-nodes", "[$Node]" },
    { "query-pci", "[{bus:int,devices:[$PciDevice]}]" },
    { "query-qmp-schema", "[{name:str,meta-type:<builtin|enum|array|object|alternate|command|event>,*features:[str]"
        "@meta-type builtin={json-type:<string|number|int|boolean|null|object|array|value>} enum={members:[{name:str}],values:[str]} array={element-type:str} "
        "object={members:[{name:str,type:str,*default:any}],*tag:str,*variants:[{case:str,type:str}]} "
        "alternate={members:[{type:str}]} command={arg-type:str,ret-type:str,*allow-oob:bool} event={arg-type:str}}]" },
    { "query-rx-filter", "[{name:str,promiscuous:bool,multicast:<normal|none|all>,unicast:<normal|none|all>,"
        "vlan:<normal|none|all>,broadcast-allowed:bool,multicast-overflow:bool,unicast-overflow:bool,main-mac:str,"
        "vlan-table:[int],unicast-table:[str],multicast-table:[str]}]" },
    { "query-status", "{running:bool,status:<prelaunch|running|paused|shutdown|io-error|internal-error|debug|suspended|"
        "inmigrate|guest-panicked>}" },
    { "query-target", "{arch:<x86_64>}" },
    { "query-tpm-models", "[<>]" },
    { "query-tpm-types", "[<>]" },
    { "query-uuid", "{UUID:str}" },
    { "query-version", "{qemu:{major:int,minor:int,micro:int},package:str}" },
    { "query-vnc", "{enabled:bool,*host:str,*service:str,*family:<ipv4|ipv6|unix|vsock|unknown>,*auth:str,"
        "*clients:[$VncClient]}" },
    { "query-vnc-servers", "[{id:str,server:[$VncListener],clients:[$VncClient],auth:<none|vnc>,*display:str}]" },
    { "ringbuf-read", "str" },
    { "x-query-virtio", "[{path:str,name:str}]" },
    { "x-query-virtio-queue-element", "{name:str,index:int,descs:[{addr:int,len:int,flags:[str]}],"
        "avail:{flags:int,idx:int,ring:int},used:{flags:int,idx:int}}" },
    { "x-query-virtio-queue-status", "{name:str,queue-index:int,inuse:int,vring-num:int,vring-num-default:int,"
        "vring-align:int,vring-desc:int,vring-avail:int,vring-used:int,*last-avail-idx:int,*shadow-avail-idx:int,"
        "used-idx:int,signalled-used:int,signalled-used-valid:bool}" },
    { "x-query-virtio-status", "{name:str,device-id:int,vhost-started:bool,device-endian:str,guest-features:$Features,"
        "host-features:$Features,backend-features:$Features,num-vqs:int,status:{statuses:[str],*unknown-statuses:int},"
        "isr:int,queue-sel:int,vm-running:bool,broken:bool,disabled:bool,use-started:bool,started:bool,"
        "start-on-kick:bool,disable-legacy-check:bool,bus-name:str,use-guest-notifier-mask:bool}" },
    { "x-query-virtio-vhost-queue-status", "{name:str,kick:int,call:int,desc:int,avail:int,used:int,num:int,"
        "desc-phys:int,desc-size:int,avail-phys:int,avail-size:int,used-phys:int,used-size:int}" },
    { NULL, NULL },
};

const QmpTypeRow qmp_arguments[] = {
    { "qmp_capabilities", "{*enable:[<oob>]}" },
    { "device_add", "{driver:str,*bus:str,*id:str}" },
    { "chardev-add", "{id:str,backend:$Chardev}" },
    { "chardev-change", "{id:str,backend:$Chardev}" },
    { "migrate-set-capabilities", "{capabilities:[{capability:<events>,state:bool}]}" },
    { "input-send-event", "{*device:str,*head:int,events:[$InputEvent]}" },
    { "set_password", "{protocol:<vnc|spice>,password:str,*connected:<keep|fail|disconnect>@protocol vnc={*display:str} "
        "spice={}}" },
    { "expire_password", "{protocol:<vnc|spice>,time:str@protocol vnc={*display:str} spice={}}" },
    { "send-key", "{keys:[$KeyValue],*hold-time:int}" },
    { NULL, NULL },
};

const QmpTypeRow qmp_event_types[] = {
    { "SHUTDOWN", "$Shutdown" },
    { "RESET", "$Shutdown" },
    { "POWERDOWN", "{}" },
    { "STOP", "{}" },
    { "RESUME", "{}" },
    { "SUSPEND_DISK", "{}" },
    { "DEVICE_DELETED", "{*device:str,path:str}" },
    { "GUEST_PANICKED", "{action:<pause|run>}" },
    { "GUEST_CRASHLOADED", "{action:<pause|run>}" },
    { "BLOCK_IO_ERROR", "{qom-path:str,device:str,*node-name:str,operation:<read|write>,action:<ignore|report|stop>,"
        "*nospace:bool,reason:str}" },
    { "BLOCK_IMAGE_CORRUPTED", "{device:str,*node-name:str,msg:str,*offset:int,*size:int,fatal:bool}" },
    { "DEVICE_TRAY_MOVED", "{device:str,id:str,tray-open:bool}" },
    { "RTC_CHANGE", "{offset:int,qom-path:str}" },
    { "VSERPORT_CHANGE", "{id:str,open:bool}" },
    { "NETDEV_STREAM_CONNECTED", "{netdev-id:str,addr:{type:<inet|unix>@type "
        "inet={host:str,port:str,*ipv4:bool,*ipv6:bool} unix={path:str}}}" },
    { "NETDEV_STREAM_DISCONNECTED", "{netdev-id:str}" },
    { "NIC_RX_FILTER_CHANGED", "{*name:str,path:str}" },
    { "BALLOON_CHANGE", "{actual:int}" },
    { "VNC_CONNECTED", "$VncPeers" },
    { "VNC_INITIALIZED", "$VncPeers" },
    { "VNC_DISCONNECTED", "$VncPeers" },
    { NULL, NULL },
};
