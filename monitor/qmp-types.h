/* What commands return and take and events carry, for query-qmp-schema. */
#pragma once

#include <glib.h>

/*
 * Types are written as "str", "int", "bool", "number", "any"; "[T]" a list; "<a|b>" an enumeration;
 * "{a:T,*b:T}" an object, '*': may be missing; "{t:<x|y>@t x={a:T}}" one whose other members
 * depend on t's value; "$Name" one of qmp_named_types.
 */
typedef struct QmpTypeRow {
    const char *name, *type;
} QmpTypeRow; /* tables end with { NULL } */

extern const QmpTypeRow qmp_named_types[];
extern const QmpTypeRow qmp_returns[];   /* by command; others: "{}", of query-*: "any" */
extern const QmpTypeRow qmp_arguments[]; /* by command, where no PropSpec table says it */
extern const QmpTypeRow qmp_event_types[];
