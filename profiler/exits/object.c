/* The compiled programs (exits.bpf.c), as bytes of this program. */
#include "profiler/exits/object.h"

__asm__(".pushsection .rodata\n"
	".balign 16\n"
	".globl exits_object\n"
	"exits_object:\n"
	".incbin \"profiler/exits/exits.bpf.o\"\n" /* below the build folder: the Makefile's -Wa,-I
						    */
	".globl exits_object_end\n"
	"exits_object_end:\n"
	".byte 0\n"
	".popsection\n");
