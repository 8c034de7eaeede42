/* How long a machine instruction of x86-64 is: so much of decoding as it takes to go from one
 * instruction to the next (Intel SDM volume 2, chapter 2 and appendix A). Pure. */
#ifndef KVMPROFS_X86LENGTH_H
#define KVMPROFS_X86LENGTH_H

#include <stddef.h>
#include <stdint.h>

#define X86_LENGTH_MAX 15

/* Bytes of the instruction that begins here, in 64-bit mode; 0: none that is known, or it is not
 * all in these n bytes. */
size_t x86_length(const uint8_t *code, size_t n);

#endif
