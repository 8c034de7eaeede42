/* ELF notes as /sys/kernel/notes and /sys/module/NAME/notes/... hold them (elf(5), "Notes"):
 * host byte order, name and descriptor padded to 4 bytes. Pure; the input comes from a
 * stranger. */
#ifndef KVMPROFS_NOTES_H
#define KVMPROFS_NOTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BUILD_ID_MAX	  20 /* SHA-1; longer ones are cut as perf does */
#define BUILD_ID_HEX_SIZE (2 * BUILD_ID_MAX + 1)

struct build_id {
	uint8_t len; /* 0: none */
	uint8_t bytes[BUILD_ID_MAX];
};

/* The first NT_GNU_BUILD_ID note: 0, -ENOENT when there is none, -EBADMSG when the notes are
 * malformed before one is found. */
int notes_build_id(const void *notes, size_t n, struct build_id *ret);

/* The length of the first whole note including its padding; 0 when there is none. */
size_t notes_first_len(const void *notes, size_t n);

bool build_id_equals(const struct build_id *a, const struct build_id *b);

/* Lower-case hex digits, padded with zeros to 40 as perf buildid-list shows them. */
void build_id_to_hex(const struct build_id *id, char hex[static BUILD_ID_HEX_SIZE]);

#endif
