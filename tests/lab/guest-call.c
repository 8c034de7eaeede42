/*
 * guest-call: system calls that busybox has no command for
 *   guest-call bpf                       load a BPF program and hold it until it is killed
 *   guest-call kexec KERNEL INITRD ARGS  boot that kernel, without a reset
 */
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/reboot.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int bpf(void)
{
	/* r0 = 0; exit */
	static const struct bpf_insn insns[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K},
						{.code = BPF_JMP | BPF_EXIT}};
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
	attr.insns = (uintptr_t)insns;
	attr.insn_cnt = sizeof(insns) / sizeof(insns[0]);
	attr.license = (uintptr_t) "GPL";
	strcpy(attr.prog_name, "kvmprofs_test");
	if (syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr)) < 0) {
		perror("bpf");
		return 1;
	}
	printf("loaded\n");
	fclose(stdout);
	for (;;)
		pause();
}

static int kexec(const char *kernel, const char *initrd, const char *arguments)
{
	int kernel_fd = open(kernel, O_RDONLY), initrd_fd = open(initrd, O_RDONLY);

	if (kernel_fd < 0 || initrd_fd < 0 ||
	    syscall(SYS_kexec_file_load, kernel_fd, initrd_fd, strlen(arguments) + 1, arguments,
		    0) < 0) {
		perror("kexec_file_load");
		return 1;
	}
	syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_KEXEC, NULL);
	perror("kexec");
	return 1;
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "bpf") == 0)
		return bpf();
	if (argc == 5 && strcmp(argv[1], "kexec") == 0)
		return kexec(argv[2], argv[3], argv[4]);
	fprintf(stderr, "guest-call: bpf, or kexec KERNEL INITRD ARGUMENTS\n");
	return 2;
}
