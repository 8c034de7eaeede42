/* Making a stranger's bytes safe to show, and telling whether they are what they should be. */
#ifndef KVMPROFS_BASE_TEXT_H
#define KVMPROFS_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Writes n bytes to dst (size bytes, always NUL-terminated) with every byte outside printable
 * ASCII, and the backslash, as \xNN. What does not fit is left off; an escape is never cut.
 * Returns the length written. size must be at least 1. */
size_t text_escape(char *dst, size_t size, const char *bytes, size_t n);

/* As text_escape(), but the backslash stays: for messages, whose parts may have been escaped
 * before. */
size_t text_clean(char *dst, size_t size, const char *bytes, size_t n);

/* True when all n bytes are printable ASCII without blanks (0x21 to 0x7e). */
bool text_is_word(const char *bytes, size_t n);

/* A name that may become one path component: 1 to 255 printable ASCII characters without '/',
 * and neither "." nor "..". */
bool text_is_component(const char *name);

/* As text_escape(), but '/' and blanks are escaped too, "." and ".." become "\x2e..." and an
 * empty name becomes "\x": the result is always a path component, of at most 255 bytes. Different
 * names give different results as long as nothing had to be cut. size: at least 8. */
size_t text_to_component(char *dst, size_t size, const char *name);

/* Whole string as an unsigned number of the given base, without sign, blanks or prefix.
 * False when it is none or exceeds max; *ret is then untouched. */
bool text_to_u64(const char *s, int base, uint64_t max, uint64_t *ret);

#endif
