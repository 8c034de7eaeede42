/* What vmmram.c opens and vmmram_read.c reads. For these two only. */
#ifndef KVMPROFS_VMMRAM_IMPL_H
#define KVMPROFS_VMMRAM_IMPL_H

#include <stdatomic.h>

#include "symsrc/vmmmaps.h"

struct ram_file {
	int fd; /* O_RDONLY, a regular file */
	uint32_t major, minor;
	uint64_t inode;
	bool is_tmpfs; /* memfd too */
	/* Addresses for mincore(2), which tells what tmpfs has swapped out; never touched. NULL:
	 * not tmpfs, or not to be had. */
	char *shadow;
	uint64_t shadow_len;
};

struct vmmram {
	atomic_uint refs;
	const struct guest *guest; /* held */
	int proc_fd;		   /* /proc/PID: of this process, also when its pid is reused */
	int mem_fd;		   /* /proc/PID/mem: of this address space, also after exec(2) */
	int pagemap_fd;
	bool can_scan; /* the kernel has PAGEMAP_SCAN */
	size_t file_count;
	struct ram_file files[VMMRAM_BLOCKS_MAX];
	const struct ram_file *file_of[VMMRAM_BLOCKS_MAX]; /* by block; NULL: none, or not to be
							      had (private anonymous: none) */
	struct ram_plan plan;
};

/* Whether the kernel has PAGEMAP_SCAN. */
bool vmmram_can_scan(const struct vmmram *v);

#endif
