/* The symbols that one boot's kallsyms text gives. */
#ifndef KVMPROFS_TESTS_TEXTSYMBOLS_H
#define KVMPROFS_TESTS_TEXTSYMBOLS_H

#include "symsrc/symbols.h"

/* One reference, the caller's; fails the test when the text is none. */
struct symbols *textsymbols_make(const char *kallsyms);

#endif
