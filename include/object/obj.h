/* The composition tree and property tables: every object a user can name or see. Hardware-free. */
#pragma once

#include "object/prop.h"

typedef struct Obj Obj;
typedef struct ObjClass ObjClass;
typedef struct StateField StateField; /* object/state.h */

typedef enum ObjPhase { OBJ_NEW, OBJ_REALIZED, OBJ_LEAVING, OBJ_DEAD } ObjPhase;
enum {
    OBJ_ABSTRACT = 1 << 0,    /* listed by qom-list-types, never made */
    OBJ_NOT_USER = 1 << 1,    /* not by -device/-object: made by a board */
    OBJ_DEVICE = 1 << 2,      /* a device: -device, device_add */
    OBJ_USER_OBJECT = 1 << 3, /* -object, object-add */
    OBJ_NO_HOTPLUG = 1 << 4,
};

struct ObjClass {
    const char *name;   /* "virtio-rng-pci" */
    const char *parent; /* a name only, for qom-list-types: "virtio-rng-pci-base" */
    const char *help;   /* one line for -device help; NULL: none */
    /* "Storage", "Network", "Misc" …: -device help's groups; NULL: "Uncategorized" */
    const char *category;
    size_t size;
    unsigned flags;
    /* bus type it sits on: "PCI", "virtio-bus", "SCSI", "virtio-serial-bus", "ISA"; NULL: none */
    const char *bus;
    const PropGroup *props;
    const StateField *state; /* what is saved and loaded; NULL: nothing */
    const void *ops;         /* the next layer's constants: PciOps, VirtioOps */
    const void *ops2;        /* composed types: VIRTIO_PCI_TYPES keeps the child's class here */
    /* after allocation and defaults, before properties; makes children. NULL: none */
    void (*init)(Obj *o);
    bool (*realize)(Obj *o, GError **err);
    void (*unrealize)(Obj *o); /* only after a successful realize */
    void (*fini)(Obj *o);      /* always, last */
    void (*reset)(Obj *o);
    /* a PROP_RUNTIME row has a new value, after realize; NULL */
    void (*prop_changed)(Obj *o, const PropSpec *row);
    void (*describe)(const Obj *o, JsonWriter *w); /* query-* and info qtree */
};

/* First member of every object. */
struct Obj {
    const ObjClass *cls;
    Obj *parent;         /* owns one reference */
    char *name;          /* its name in the parent: "dev0", "device[3]" */
    GPtrArray *children; /* Obj*, in order; NULL: none yet */
    uint32_t refs;       /* atomic */
    ObjPhase phase;
    bool is_static;        /* lies inside its parent's struct */
    GHashTable *props_set; /* names for prop_was_set(); NULL: none */
};

/* Allocates, applies defaults, calls init. One reference, the caller's. */
Obj *obj_new(const ObjClass *cls);
/*
 * Embedded child objects: o lies inside its parent's struct and ends with it, before the parent's
 * fini: give it to the tree with obj_add() and never unref it. Whoever needs it longer holds a
 * reference to the parent.
 */
void obj_init_static(Obj *o, const ObjClass *cls);
Obj *obj_ref(Obj *o);
void obj_unref(Obj *o);
/* Takes a reference for the tree. name: unique in parent, NULL makes "device[N]"-like names
 * unnecessary: see obj_add_array. */
void obj_add(Obj *parent, const char *name, Obj *child);
void obj_add_array(Obj *parent, const char *base, Obj *child); /* base[N] with the next free N */
void obj_detach(Obj *child);                                   /* drops the tree's reference */
Obj *obj_child(const Obj *parent, const char *name);
Obj *obj_container(Obj *parent, const char *name); /* finds or makes a plain "container" node */
char *obj_path(const Obj *o);                      /* "/machine/peripheral/net0"; g_free */
/* Absolute, or a partial path that names one object only (*ret_ambiguous). NULL: none. */
Obj *obj_resolve(Obj *root, const char *path, bool *ret_ambiguous);
bool obj_realize(Obj *o, GError **err);
void obj_unrealize(Obj *o);                  /* children first */
bool obj_is(const Obj *o, const char *type); /* its class or one of its parents by name */
/* Visits o and everything below, children after their parent; false from fn stops. */
bool obj_walk(Obj *o, bool (*fn)(Obj *o, void *opaque), void *opaque);

/* The list of classes: hw/type-table.c defines it (tests have their own). NULL-terminated. */
extern const ObjClass *const obj_classes[];
typedef struct ObjAlias {
    const char *alias, *name;
} ObjAlias;
extern const ObjAlias obj_aliases[];
/* Resolves aliases ("virtio-net" → virtio-net-pci). NULL: unknown. */
const ObjClass *obj_class_find(const char *name);
/* walks parent names; abstract names count */
bool obj_class_is(const ObjClass *cls, const char *type);
extern const ObjClass obj_container_class; /* "container": a plain node */
/* -object, object-add: {qom-type, id, properties}; the new object stands realized in container
 * under its id. */
Obj *obj_create_user(Obj *container, const Json *args, GError **err);
/* object-del. "object 'x' not found", "object 'x' is in use, can not be deleted". */
bool obj_delete_user(Obj *container, const char *id, GError **err);
