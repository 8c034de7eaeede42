/* Page tables of x86-64, 4 and 5 levels (Intel SDM, volume 3, chapter 5 "Paging"; AMD APM,
 * volume 2, chapter 5): a virtual address in, a guest-physical one out.
 *
 * Pages of 4 KiB, 2 MiB and 1 GiB. Bits above 51 and flags are taken off each entry; protection
 * does not matter here. With page table isolation the root must be the kernel's half.
 */
#ifndef KVMPROFS_MEMORY_PAGING_H
#define KVMPROFS_MEMORY_PAGING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "symsrc/memory/ram.h"

/* Of an entry. */
#define PAGING_PRESENT	1ULL
#define PAGING_WRITABLE 2ULL
#define PAGING_LARGE	(1ULL << 7) /* for 1 GiB and 2 MiB: a page, not a table */
#define PAGING_ADDRESS	0x000ffffffffff000ULL

#define PAGING_LARGE_PAGE (2ULL << 20)

#define PAGING_PAGES  256 /* translations that are remembered */
#define PAGING_TABLES 64  /* and tables, of 2 MiB each */

struct paging {
	struct ram *ram; /* not owned */
	uint64_t root;	 /* guest-physical address of the top table */
	unsigned levels; /* 4 or 5 */
	struct paging_cached {
		uint64_t key; /* va >> 12 (pages), va >> 21 (tables), plus 1; 0: empty */
		uint64_t pa;
	} pages[PAGING_PAGES], tables[PAGING_TABLES];
};

/* Also forgets all translations, which a kernel that loads and unloads modules changes: begin
 * anew for each walk that shall see the guest as it is now. levels: 4 or 5. */
void paging_init(struct paging *p, struct ram *ram, uint64_t root, unsigned levels);

/* *ret_left: bytes from there to the end of that page (4 KiB to 1 GiB). -EFAULT when the address
 * is not mapped or not canonical; else as ram_read(). Not cached. */
int paging_translate(struct paging *p, uint64_t va, uint64_t *ret_pa, uint64_t *ret_left);

/* The table whose entries map 2 MiB each, with va in its 1 GiB. Errors as above; -EFAULT also
 * for a page of 1 GiB. */
int paging_find_directory(struct paging *p, uint64_t va, uint64_t *ret_pa);

/* Copies n bytes across pages; translations are cached. -EFAULT as above; after an error buf
 * holds nothing of use. */
int paging_read(struct paging *p, uint64_t va, void *buf, size_t n);
int paging_read_u64(struct paging *p, uint64_t va, uint64_t *ret);
int paging_read_u32(struct paging *p, uint64_t va, uint32_t *ret);

/* A string of at most size - 1 bytes, ended by its NUL; -ENAMETOOLONG when there is none in
 * size bytes. Never reads a page behind the one in which the string ends. */
int paging_read_str(struct paging *p, uint64_t va, char *dst, size_t size);

#endif
