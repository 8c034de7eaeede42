/* Tracepoints whose fields a program may take from the arguments themselves, before the kernel has
 * made a record of them (BPF_PROG_TYPE_RAW_TRACEPOINT): half as dear as reading the record. The
 * format files do not tell the arguments; the kernel's own types (BTF) do, and only where they are
 * those known here. */
#ifndef KVMPROFS_EXITS_RAWARGS_H
#define KVMPROFS_EXITS_RAWARGS_H

#include <stdbool.h>

#include "profiler/exits/abi.h"

struct btf;

/* Whether a program may hang raw on that event of KVM's, and if so where its fields are then, into
 * *fields. btf: of the running kernel, or of its module that has the event; NULL: not known. Any
 * thread. */
bool exits_rawargs_find(const struct btf *btf, const char *event, struct exits_fields *fields);

#endif
