/* Sets of symbols that have gone (symsrc/retired.h), for tests of what comes of them. */
#ifndef KVMPROFS_TESTS_GONE_H
#define KVMPROFS_TESTS_GONE_H

#include "symsrc/retired.h"

/* What is retired when these symbols, as kallsyms has them, replace those. before: taken over. */
const struct retired *gone_after(const struct retired *before, const char *old, const char *now);

#endif
