/* Parser of a line of /proc/modules (kernel/module/procfs.c, m_show(); proc(5)):
 * "name size refcount deps state 0xaddress [taints]". Pure; the input comes from a stranger. */
#ifndef KVMPROFS_MODULES_H
#define KVMPROFS_MODULES_H

#include <stddef.h>
#include <stdint.h>

#include "symsrc/base/errmsg.h"

#define MODULE_NAME_MAX 64 /* MODULE_NAME_LEN is 56 on 64 bit; with the NUL */

struct module_line {
	char name[MODULE_NAME_MAX]; /* letters, digits, '_', '-', '.'; never a path */
	uint64_t size;		    /* bytes */
	uint64_t base;		    /* 0 when hidden */
};

/* True for a name that a module can have and that is safe as one path component. */
int module_name_is_valid(const char *name, size_t n);

/* Calls fn for each line of the text (whole lines, the last with its newline). Ends at the
 * first negative return of fn, or with -EBADMSG at a malformed line (why: line, what). */
int modules_parse(const char *text, size_t n, int (*fn)(void *ctx, const struct module_line *m),
		  void *ctx, struct errmsg *why);

/* True when both texts list the same modules at the same addresses; use counts, which change
 * all the time, do not matter. */
int modules_same(const char *a, size_t a_len, const char *b, size_t b_len);

#endif
