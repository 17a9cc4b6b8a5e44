/* Byte order for a guest without a libc: x86 is little-endian. */
#pragma once

#define le16toh(v) (v)
#define le32toh(v) (v)
#define htole16(v) (v)
#define htole32(v) (v)
#define htole64(v) (v)
