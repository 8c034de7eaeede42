/* The kernel's own symbols, decoded out of the tables of kallsyms in its read-only data
 * (scripts/kallsyms.c writes them, kernel/kallsyms.c reads them).
 *
 * In memory, in the order in which the linker put them:
 *	to 4.5		addresses num_syms names markers token_table token_index
 *	4.6 to 6.3	offsets relative_base num_syms names markers [seqs_of_names] token_table
 *			token_index
 *	6.4 and newer	num_syms names markers token_table token_index offsets [relative_base]
 *			seqs_of_names
 * and an entry of offsets means: with ABSOLUTE_PERCPU (x86-64 SMP, to 6.14) v >= 0: v itself,
 * v < 0: relative_base - 1 - v; without (6.15 and newer) relative_base + (u32)v; 7.0 and newer
 * &offsets[i] + v. Distributions move tables between versions, so nothing here goes by a
 * version: each layout and each meaning is tried, and is right only if everything fits.
 */
#ifndef KVMPROFS_MEMORY_KSYMS_H
#define KVMPROFS_MEMORY_KSYMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "symsrc/base/errmsg.h"
#include "symsrc/memory/findkernel.h"
#include "symsrc/memory/image.h"
#include "symsrc/memory/ram.h"
#include "symsrc/source.h"

#define KSYMS_MAX	  (2u << 20)  /* symbols; a few times the largest distribution kernel */
#define KSYMS_NAMES_MAX	  (32u << 20) /* bytes of compressed names */
#define KSYMS_TOKENS_MAX  (16u << 10) /* bytes of token_table; about 1,000 in reality */
#define KSYMS_NAME_MAX	  511	      /* KSYM_NAME_LEN - 1 since 6.1 */
#define KSYMS_ANCHORS_MIN 3	      /* that must agree */
#define KSYMS_FIND_MAX	  64	      /* names to look for at once */

/* Immutable once made. */
struct ksyms;

/* Finds, decodes and checks the tables of this candidate. Where candidate->image has no va yet
 * (signature) it is completed: va, pa, size, root and levels. image.root becomes the kernel's own
 * top table, init_top_pgt (to 4.12 init_level4_pgt), if kallsyms has it: what a trampoline has is
 * only sure to lead to the image, not to modules and the direct map.
 *
 * Anchors, of which at least KSYMS_ANCHORS_MIN must be there and every one that is there must
 * agree: linux_banner leads to "Linux version ", init_uts_ns to "Linux", init_top_pgt maps _text
 * and linux_banner to where they are, _text is the image's first byte, kallsyms' own symbols lead
 * to where its tables were found, the addresses ascend, and what VMCOREINFO says of _stext,
 * init_uts_ns, the page table and kallsyms' tables. One of them must be such that a table shifted
 * by an entry could not agree. A kernel with functions alone (without CONFIG_KALLSYMS_ALL) has few
 * of these; then relative_base and seqs_of_names count, too, where the image is known.
 *
 * 0, or negative errno and why: -ENOENT: no tables there; -EBADMSG: tables, but they do not fit
 * together (a kernel that is being unpacked, a dead one, a forged one); -EBUSY: what is needed is
 * swapped out; or as ram_read(). candidate is unchanged on failure. */
int ksyms_read(struct ram *ram, struct kernel_candidate *candidate, struct ksyms **ret,
	       struct errmsg *why);
void ksyms_destroy(struct ksyms *k); /* accepts NULL */

size_t ksyms_count(const struct ksyms *k);

/* How many anchors agreed, and how the tables were laid out ("7.0 and newer: behind the
 * tokens, place-relative"), for people. */
unsigned ksyms_anchors(const struct ksyms *k);
const char *ksyms_layout(const struct ksyms *k);

/* The address of the first symbol of this name, 0 when there is none. Linear: a few
 * milliseconds; where many are wanted use ksyms_find_many(). */
uint64_t ksyms_find(const struct ksyms *k, const char *name);

/* The same for several names in one pass; ret[i] is 0 where there is none. At most
 * KSYMS_FIND_MAX. */
void ksyms_find_many(const struct ksyms *k, const char *const *names, size_t n, uint64_t *ret);

/* Writes them as /proc/kallsyms has them ("%016lx %c %s\n"), as chunks to the sink's data().
 * 0 or what the sink returned. */
int ksyms_deliver(const struct ksyms *k, const struct source_sink *sink);

#endif
