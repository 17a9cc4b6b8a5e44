/* CPU models: -cpu's text to what CPUID says. x86_cpuid() (include/accel/x86-state.h) answers from
 * the result. */
#pragma once

#include "accel/x86-state.h"

#include <glib.h>

/* One model that -cpu takes, as query-cpu-definitions lists it. */
typedef struct X86CpuModelInfo {
    const char *name;        /* "qemu64" */
    const char *description; /* for -cpu help */
    const char *alias_of;    /* NULL: none */
    bool is_static;
    bool migration_safe;
    bool kvm_only;
} X86CpuModelInfo;

/* All models in the order of -cpu help; *ret_n of them. Static storage. */
const X86CpuModelInfo *x86_cpu_models(unsigned *ret_n);

/*
 * Parses "model[,feature][,+feature][,-feature][,name=value]..". Features that the engine does not
 * implement are dropped with a warning (with enforce: refused). host: what the host's CPU can show
 * under KVM (AccelClass.host_model), which takes the engine's place; NULL: the engine. Topology
 * fields are left at 1. NULL: *err is set. Free with g_free().
 */
X86CpuModel *x86_cpu_model_new(const char *text, const X86CpuModel *host, GError **err);

/* The text of -cpu help. Free with g_free(). */
char *x86_cpu_help(void);

/* Calls fn for each named feature: whether a resolved model has it. For query-cpu-model-expansion.
 */
typedef void X86CpuFeatureFn(void *opaque, const char *name, bool on);
void x86_cpu_features_foreach(const X86CpuModel *m, X86CpuFeatureFn *fn, void *opaque);
