/* Page faults: fresh pages, rights, copy on write, mapped files, growth and shrinkage. */
#define _GNU_SOURCE
#include "check.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096, PAGES = 2048 };

static char *map(size_t size, int flags, int file)
{
    char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, file, 0);
    CHECK(memory != MAP_FAILED);
    return memory;
}

static void fresh_pages_are_zero_and_keep_what_is_written(void)
{
    char *memory = map(PAGES * PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    for (int i = 0; i < PAGES; i++) {
        uint64_t *page = (uint64_t *)(memory + i * PAGE);
        CHECK(page[i % 512] == 0);
        page[i % 512] = 0x1234567800000000u + i;
    }
    for (int i = 0; i < PAGES; i++)
        CHECK(((uint64_t *)(memory + i * PAGE))[i % 512] == 0x1234567800000000u + i);
    CHECK(madvise(memory, PAGES * PAGE, MADV_DONTNEED) == 0);
    for (int i = 0; i < PAGES; i += 64)
        CHECK(((uint64_t *)(memory + i * PAGE))[i % 512] == 0);
    CHECK(munmap(memory, PAGES * PAGE) == 0);
}

static void rights_change(void)
{
    char *page = map(PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    /* mov $n, %eax; ret */
    for (int i = 0; i < repeats(100); i++) {
        unsigned char code[] = {0xb8, i, 0, 0, 0, 0xc3};
        CHECK(mprotect(page, PAGE, PROT_READ | PROT_WRITE) == 0);
        memcpy(page, code, sizeof code);
        CHECK(mprotect(page, PAGE, PROT_READ | PROT_EXEC) == 0);
        CHECK(((int (*)(void))(uintptr_t)page)() == i);
    }
    munmap(page, PAGE);
}

static void a_written_copy_is_private(void)
{
    char *private = map(64 * PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    char *shared = map(64 * PAGE, MAP_SHARED | MAP_ANONYMOUS, -1);
    memset(private, 1, 64 * PAGE);
    memset(shared, 1, 64 * PAGE);
    pid_t child = fork();
    if (child == 0) {
        memset(private, 2, 64 * PAGE);
        memset(shared, 2, 64 * PAGE);
        _exit(private[PAGE] == 2 ? 0 : 1);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    for (int i = 0; i < 64; i++)
        CHECK(private[i * PAGE] == 1 && shared[i * PAGE] == 2);
    munmap(private, 64 * PAGE);
    munmap(shared, 64 * PAGE);
}

static void a_private_file_mapping_leaves_the_file_alone(void)
{
    char seen[8];
    char path[32];
    snprintf(path, sizeof path, "/tmp/mapped-%d", getpid());
    int file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(file >= 0 && ftruncate(file, 4 * PAGE) == 0 && pwrite(file, "original", 8, PAGE) == 8);
    char *private = map(4 * PAGE, MAP_PRIVATE, file), *shared = map(4 * PAGE, MAP_SHARED, file);
    CHECK(memcmp(private + PAGE, "original", 8) == 0);
    memcpy(private + PAGE, "replaced", 8);
    CHECK(pread(file, seen, 8, PAGE) == 8 && memcmp(seen, "original", 8) == 0);
    memcpy(shared + PAGE, "changed!", 8);
    CHECK(pread(file, seen, 8, PAGE) == 8 && memcmp(seen, "changed!", 8) == 0);
    CHECK(memcmp(private + PAGE, "replaced", 8) == 0);
    munmap(private, 4 * PAGE);
    munmap(shared, 4 * PAGE);
    close(file);
    unlink(path);
}

static void a_mapping_grows_where_it_has_to_move(void)
{
    char *memory = map(PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    strcpy(memory, "moved");
    memory = mremap(memory, PAGE, 512 * PAGE, MREMAP_MAYMOVE);
    CHECK(memory != MAP_FAILED && strcmp(memory, "moved") == 0 && memory[511 * PAGE] == 0);
    munmap(memory, 512 * PAGE);
}

void check_memory(void)
{
    fresh_pages_are_zero_and_keep_what_is_written();
    rights_change();
    a_written_copy_is_private();
    a_private_file_mapping_leaves_the_file_alone();
    a_mapping_grows_where_it_has_to_move();
}
