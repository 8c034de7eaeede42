/* Parser of /proc/kallsyms: bytes in, at any chunk size; symbols out to a builder.
 *
 * Format (kernel/kallsyms.c, s_show(); proc(5)): "%px %c %s\n" or "%px %c %s\t[%s]\n", the
 * address in hexadecimal, 8 or 16 digits. It comes from a stranger: every line is checked, and
 * one that is not of this form ends the parse. Pure: no allocation besides the buffer that it
 * is given, no input but the bytes.
 */
#ifndef KVMPROFS_KALLSYMS_H
#define KVMPROFS_KALLSYMS_H

#include "symsrc/base/buf.h"
#include "symsrc/base/errmsg.h"
#include "symsrc/symtab.h"

struct kallsyms {
	struct buf *text;	   /* all bytes so far; becomes the arena */
	struct symtab_builder *to; /* not owned */
	size_t parsed;		   /* bytes of text that are whole lines already taken */
	size_t lines;
	size_t nonzero; /* lines whose address is not 0 */
};

/* text must be empty and carries the maximum. */
void kallsyms_init(struct kallsyms *k, struct buf *text, struct symtab_builder *to);

/* 0; -EBADMSG for a malformed line (why: line number and what), -EFBIG, -E2BIG, -ENOMEM. */
int kallsyms_feed(struct kallsyms *k, const void *bytes, size_t n, struct errmsg *why);

/* The end: -EBADMSG when the last line is not whole or there was none. -EACCES when every
 * address is zero, as kptr_restrict shows them to those who may not see them: the text is then
 * whole but names nothing. */
int kallsyms_finish(struct kallsyms *k, struct errmsg *why);

#endif
