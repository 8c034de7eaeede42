/* The compiled BPF programs, an ELF file. */
#ifndef KVMPROFS_EXITS_OBJECT_H
#define KVMPROFS_EXITS_OBJECT_H

extern const char exits_object[];
extern const char exits_object_end[];

#endif
